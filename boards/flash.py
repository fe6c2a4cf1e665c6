"""Command that writes a board's flash memory: bitstream, model, something to say."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from trilight.hw.contract.errors import BoardError, BuildError, TrilightError
from trilight.hw.contract.protocol import FLASH_OFFSET, FLASH_SLOT_BYTES, FLASH_SLOTS
from trilight.hw.flow.build import BoardDesign, find_board
from trilight.hw.support.boards import DEFAULT_BOARD, board_names
from trilight.hw.support.files import write_whole
from trilight.hw.support.terminal import Console, visible

from .command import (
    BaudOption,
    BoardArgument,
    FrequencyOption,
    SeedsOption,
    TerminalOption,
    bitstream_for,
    board_with,
)
from .families.board import FamilyBoard
from .images import Speech, make_image
from .programmer import SECTOR_BYTES, Part, Programmer, best_programmer, find_programmer

__all__ = ["flash_command", "image_parts", "linear_parts"]

ERASED = b"\xff"


def flash_command(
    board: BoardArgument = DEFAULT_BOARD,
    bitstream: Annotated[Path | None, typer.Option(
        "--bitstream", "-b", metavar="FILE", help="What to write. Default: the board's own, built "
                                                  "if need be.")] = None,
    model: Annotated[str | None, typer.Option(
        "--model", "-m", metavar="FILE", help="Also write this model, which the chip then loads by "
                                              "itself at power-up; 'bundled' for the largest "
                                              "bundled one that fits.")] = None,
    model_only: Annotated[bool, typer.Option(
        "--model-only", help="Leave the bitstream that is there.")] = False,
    slot: Annotated[int, typer.Option(
        "--slot", min=0, max=FLASH_SLOTS - 1, metavar="N", help="Where the model goes: 0, or 1, "
        "which an iCEBreaker boots from while its button is held down at power-up.")] = 0,
    say: Annotated[str | None, typer.Option(
        "--say", metavar="PROMPT", help="Have the chip go on from this text at each power-up, "
                                        "whether a host listens or not.")] = None,
    tokens: Annotated[int, typer.Option(
        "--tokens", "-n", min=1, max=65535, help="Of --say: characters to generate.")] = 1000,
    temperature: Annotated[float, typer.Option(
        "--temperature", "-t", help="Of --say: 0 takes the likeliest character always.")] = 0.8,
    seed: Annotated[int, typer.Option("--seed", "-s", help="Of --say.")] = 0,
    frequency: FrequencyOption = None,
    baud: BaudOption = None,
    seeds: SeedsOption = None,
    terminal: TerminalOption = False,
    save: Annotated[Path | None, typer.Option(
        "--save", metavar="FOLDER", help="Write bitstream and model into files there instead, for "
                                         "another programmer.")] = None,
    usb: Annotated[str, typer.Option(
        "--usb", metavar="BUS:DEVICE", help="Which board, if several are plugged in.")] = "",
    dry_run: Annotated[bool, typer.Option(
        "--dry-run", help="Show the commands and what would be written, and write "
                          "nothing.")] = False,
) -> None:
    """Write a bitstream, and maybe a model, into a board's flash memory.

    With --model the board needs no host to load it: the chip reads the model at power-up, in a
    tenth of a second on an iCEBreaker, checks it and is ready; a host finds it there. The order of
    writing is such that a power cut never leaves a chip that runs half a model: the old one is made
    invalid first, and the beginning of the new one is written last. Everything is read back, except
    by DFU.

      trilight flash icebreaker --model bundled

      trilight flash icebreaker --model mine.safetensors --say "ROMEO:"
    """
    if bitstream is not None and (frequency, baud, seeds) != (None, None, None):
        raise BuildError(f"{bitstream} is written as it is; leave out --frequency, --baud and "
                         "--seeds, or leave out --bitstream to build one")
    if model is None and (model_only or slot or say is not None):
        raise BuildError("--model-only, --slot and --say are about a model; give --model too, such "
                         "as --model bundled")
    if model_only and bitstream is not None:
        raise BuildError("--model-only leaves the bitstream that is there; leave out --bitstream")
    console = Console(stderr=True)
    chosen = board_with(board, frequency=frequency, baud=baud, terminal=terminal)
    if bitstream is not None:
        _check_bitstream(bitstream, chosen)
    image = None if model is None else _image(
        chosen, model, slot, Speech(say=say, tokens=tokens, temperature=temperature, seed=seed))

    def progress(text: str) -> None:
        console.print(escape(text), style="dim")

    programmer = None if save is not None else _programmer(chosen, usb, dry_run=dry_run)
    if programmer is not None and image is not None:
        _check_reach(programmer, model_only)
    data = b""
    if not model_only:
        data = bitstream.read_bytes() if bitstream is not None else bitstream_for(
            chosen, seeds, progress)
    if image is not None:
        _check_place(chosen, data)
    if save is not None or programmer is None:
        _save(chosen, save or Path(), data, image, slot, console)
        return
    parts = _parts(chosen, programmer, data, image, slot)
    if dry_run:
        _show(programmer, parts)
        return
    programmer.write(parts, progress)
    console.print("Written and read back. " + (
        "Unplug the board and plug it in again." if programmer.reaches_all else ""), style="dim")


def _offset(board: BoardDesign, slot: int) -> int:
    first = board.flash_offset if isinstance(board, FamilyBoard) else FLASH_OFFSET
    return first + slot * FLASH_SLOT_BYTES


def _parts(board: BoardDesign, programmer: Programmer, bitstream: bytes, image: bytes | None,
           slot: int) -> list[Part]:
    """Return what is written, in its order; without a bitstream the one that is there stays."""
    offset = _offset(board, slot)
    if programmer.dfu_is_linear and image is not None:
        return linear_parts(bitstream, image, offset)
    parts = [Part(what="the bitstream", offset=0, data=bitstream,
                  suffix=f".{board.toolchain.bitstream}")] if bitstream else []
    if image is None:
        return parts
    invalid, *rest = image_parts(image, offset)
    return [invalid, *parts, *rest]


def image_parts(image: bytes, offset: int) -> list[Part]:
    """Return an image in the order in which it is written.

    The first sector of the slot is erased before anything else and written at last, so that
    whatever lies behind it is not run until all of it is there.
    """
    head, body = image[:SECTOR_BYTES], image[SECTOR_BYTES:]
    parts = [Part(what="nothing over the old model's beginning", offset=offset,
                  data=SECTOR_BYTES * ERASED)]
    if body:
        parts.append(Part(what="the model", offset=offset + SECTOR_BYTES, data=body))
    return [*parts, Part(what="the model's beginning", offset=offset, data=head)]


def linear_parts(bitstream: bytes, image: bytes, offset: int) -> list[Part]:
    """Return bitstream and image for a programmer that writes from the first byte on.

    The whole slot is erased before anything is written into it, so that a power cut leaves the
    beginning of the new model at most, and nothing behind it.
    """
    below = bitstream.ljust(offset, ERASED)
    return [Part(what="the bitstream, and nothing over the old model", offset=0,
                 data=below + FLASH_SLOT_BYTES * ERASED),
            Part(what="the bitstream and the model", offset=0, data=below + image)]


def _image(board: BoardDesign, model: str, slot: int, speech: Speech) -> bytes:
    if not isinstance(board, FamilyBoard) or not board.flash_pins:
        raise BuildError(f"the chip of {board.name} does not boot from flash memory; leave out "
                         "--model, and let a host load it")
    if slot >= board.flash_slots:
        raise BuildError(f"the chip of {board.name} boots from the first slot alone, as the board "
                         "has no button that would choose; leave out --slot")
    image = make_image(model, board.device_config, speech)
    if _offset(board, slot) + len(image) > board.flash_bytes:
        roomy = [other.name for other in _boards_that_boot()
                 if _has_room(other, model, slot, speech)]
        raise BuildError(
            f"the model takes {len(image):,} bytes of flash memory from {_offset(board, slot):#x} "
            f"on, and that of {board.name} has {board.flash_bytes:,}. "
            + (f"Boards that would hold it: {', '.join(roomy)}" if roomy else
               "No board of those that are installed would hold it"))
    return image


def _boards_that_boot() -> Iterator[FamilyBoard]:
    for name in board_names():
        try:
            board = find_board(name)
        except BoardError:
            continue  # of a package that is broken
        if isinstance(board, FamilyBoard) and board.flash is not None:
            yield board


def _has_room(board: FamilyBoard, model: str, slot: int, speech: Speech) -> bool:
    try:
        image = make_image(model, board.device_config, speech)
    except TrilightError:
        return False
    return slot < board.flash_slots and _offset(board, slot) + len(image) <= board.flash_bytes


def _programmer(board: BoardDesign, usb: str, *, dry_run: bool) -> Programmer:
    try:
        return find_programmer(board, usb)
    except BuildError:
        if not dry_run or not board.loader:
            raise
        # What it would be with the program installed.
        return best_programmer(board, usb)


def _check_reach(programmer: Programmer, model_only: bool) -> None:
    """Refuse a programmer that does not reach the model's place."""
    if not programmer.dfu_is_linear:
        programmer.call(Part(what="the model", offset=FLASH_OFFSET, data=b""), "")
    elif model_only:
        raise BuildError(f"the flash memory of {programmer.board} is written by DFU from its first "
                         "byte on; leave out --model-only")


def _check_place(board: BoardDesign, bitstream: bytes) -> None:
    """Refuse a bitstream that would reach into the first model."""
    assert isinstance(board, FamilyBoard)
    length = board.flashed_bytes(bitstream)
    if length > board.flash_offset:
        raise BuildError(f"the bitstream takes {length:,} bytes, and the first model begins at "
                         f"{board.flash_offset:#x}, which is less; nothing was written")


def _save(board: BoardDesign, folder: Path, bitstream: bytes, image: bytes | None, slot: int,
          console: Console) -> None:
    """Write files for another programmer, and say where each goes."""
    files = [(f"{board.name}.{board.toolchain.bitstream}", 0, bitstream)] if bitstream else []
    if image is not None:
        files.append((f"{board.name}-model.bin", _offset(board, slot), image))
    for name, offset, data in files:
        path = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, data)
        except OSError as error:
            raise BuildError(f"{path} cannot be written: {error.strerror}; name another "
                             "folder") from error
        console.print(f"{escape(str(path))}: {len(data):,} bytes for {offset:#x}", style="dim")


def _check_bitstream(path: Path, board: BoardDesign) -> None:
    """Refuse a file that is no bitstream of the board's part, before its flash is erased."""
    if not path.is_file():
        raise BuildError(f"there is no bitstream {path}; trilight build {board.name} makes one")
    try:
        problem = board.bitstream_problem(path.read_bytes())
    except OSError as error:
        raise BuildError(f"{path} cannot be read: {error.strerror}") from error
    if problem:
        raise BuildError(f"{path} {problem}; nothing was written. trilight build {board.name} "
                         "makes a bitstream")


def _show(programmer: Programmer, parts: list[Part]) -> None:
    for number, part in enumerate(parts):
        print(visible(f"# {part.what}: {len(part.data):,} bytes at {part.offset:#x}"))
        print(visible(shlex.join(programmer.call(part, f"{number}{part.suffix}"))))
