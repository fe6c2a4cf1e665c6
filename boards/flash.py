"""Command that writes a board's flash memory: bitstream, model, something to say."""

import shlex
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer
from rich.markup import escape

from trilight.hw.contract.errors import BuildError
from trilight.hw.contract.protocol import FLASH_OFFSET, FLASH_SLOT_BYTES, FLASH_SLOTS
from trilight.hw.flow.build import BoardDesign, find_board
from trilight.hw.support.boards import DEFAULT_BOARD
from trilight.hw.support.terminal import Console, visible

from .command import BaudOption, BoardArgument, FrequencyOption, SeedsOption, bitstream_for
from .families.board import FamilyBoard
from .programmer import SECTOR_BYTES, Part, Programmer, best_programmer, find_programmer

__all__ = ["IMAGES", "flash_command", "image_parts"]

IMAGES = "trilight.flash_images"
"""Entry points group of what makes a flash image of a model: see ``ImageMaker``."""

ERASED = b"\xff"


class ImageMaker(Protocol):
    """Maker of a flash image.

    ``model`` is a file, or ``None`` for the bundled model; ``say`` a prompt or ``None``. It raises
    an error that names the boards with room for the model if this device has none.
    """

    def __call__(self, model: Path | None, device: Any, *, say: str | None, tokens: int,
                 temperature: float, seed: int) -> bytes: ...


@dataclass(frozen=True, kw_only=True)
class _Speech:
    say: str | None
    tokens: int
    temperature: float
    seed: int


def flash_command(
    board: BoardArgument = DEFAULT_BOARD,
    bitstream: Annotated[Path | None, typer.Option(
        "--bitstream", "-b", metavar="FILE", help="What to write. Default: the board's own, built "
                                                  "if need be.")] = None,
    model: Annotated[str | None, typer.Option(
        "--model", "-m", metavar="FILE", help="Also write this model, which the chip then loads by "
                                              "itself at power-up; 'bundled' for the bundled "
                                              "one.")] = None,
    model_only: Annotated[bool, typer.Option(
        "--model-only", help="Leave the bitstream that is there.")] = False,
    slot: Annotated[int, typer.Option(
        "--slot", min=0, max=FLASH_SLOTS - 1, metavar="N", help="Where the model goes: 0, or 1, "
        "which a board with a button boots from while that is held down at power-up.")] = 0,
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
    invalid first, and the beginning of the new one is written last. Everything is read back.

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
    chosen = find_board(board, frequency=frequency, baud=baud)
    if bitstream is not None:
        _check_bitstream(bitstream, chosen)
    image = None if model is None else _image(
        chosen, model, _Speech(say=say, tokens=tokens, temperature=temperature, seed=seed))

    def progress(text: str) -> None:
        console.print(escape(text), style="dim")

    programmer = _programmer(chosen, usb, image is not None, dry_run=dry_run)
    parts = []
    if not model_only:
        data = bitstream.read_bytes() if bitstream is not None else bitstream_for(
            chosen, seeds, progress)
        parts.append(Part(what="the bitstream", offset=0, data=data,
                          suffix=f".{chosen.toolchain.bitstream}"))
    if image is not None:
        invalid, *rest = image_parts(image, FLASH_OFFSET + slot * FLASH_SLOT_BYTES)
        parts = [invalid, *parts, *rest]
    if dry_run:
        _show(programmer, parts)
        return
    programmer.write(parts, progress)
    console.print("Written and read back. " + (
        "Unplug the board and plug it in again." if programmer.reaches_all else ""), style="dim")


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


def _image(board: BoardDesign, model: str, speech: _Speech) -> bytes:
    if not isinstance(board, FamilyBoard) or not board.flash_pins:
        raise BuildError(f"the chip of {board.name} does not boot from flash memory; leave out "
                         "--model, and let a host load it")
    makers = list(entry_points(group=IMAGES))
    if not makers:
        raise BuildError("nothing here makes flash images; install trilight again")
    make: ImageMaker = makers[0].load()
    return make(None if model == "bundled" else Path(model), board.device_config, say=speech.say,
                tokens=speech.tokens, temperature=speech.temperature, seed=speech.seed)


def _programmer(board: BoardDesign, usb: str, has_image: bool, *, dry_run: bool) -> Programmer:
    try:
        found = find_programmer(board, usb)
    except BuildError:
        if not dry_run or not board.loader:
            raise
        # What it would be with the program installed.
        found = best_programmer(board, usb)
    if has_image:
        found.call(Part(what="the model", offset=FLASH_OFFSET, data=b""), "")
    return found


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
