"""Flashing: what is written where and in which order, power cuts, and every complaint of a tool.

The programmer is a fake whose flash memory erases and writes like a real one.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trilight.boards.families.board import FamilyBoard
from trilight.boards.flash import flash_command, image_parts, linear_parts
from trilight.boards.icebreaker import Icebreaker
from trilight.boards.programmer import SECTOR_BYTES, Part, best_programmer
from trilight.hw.contract.errors import BuildError
from trilight.hw.contract.protocol import (
    FLASH_OFFSET,
    FLASH_SLOT_BYTES,
    MAX_FRAME_BYTES,
    Command,
    Slip,
)
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.flow.build import find_board
from trilight.hw.support.boards import board_device, board_names
from trilight.sw.errors import ModelDoesNotFitError
from trilight.sw.host.boot import flash_image, make_image
from trilight.sw.host.frames import FrameReader
from trilight.sw.model.image import compile_image
from trilight.sw.model.model import Model

BITSTREAM = bytes.fromhex("7eaa997e6202b30101") + b"configuration\x01\x06\0"
"""Preamble, width and rows, as icepack begins for a UP5K, and how it ends."""

DEVICE = board_device()

PAGE = 256

FAKE = '''#!{python}
"""openFPGALoader as far as it is used here: a flash memory in a file, faults on request."""
import json, pathlib, sys
folder = pathlib.Path({folder!r})
arguments = sys.argv[1:]
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps(arguments) + "\\n")
fault = json.loads((folder / "fault").read_text())
if "--scan-usb" in arguments:
    print("Bus device vid:pid       probe type      manufacturer serial               product")
    for line in fault.get("usb", []):
        print(line)
    sys.exit(0)
if "says" in fault:
    print(fault["says"], file=sys.stderr)
    sys.exit(fault["status"])
memory = folder / "memory"
flash = bytearray(memory.read_bytes())
data = pathlib.Path(arguments[-1]).read_bytes()
offset = int(arguments[arguments.index("--offset") + 1]) if "--offset" in arguments else 0
flash[offset:offset + len(data)] = data
memory.write_bytes(flash)
'''


class Tool:
    """The fake, its memory and what it was called with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.set()
        (folder / "memory").write_bytes(bytes(4 << 20))
        tool = folder / "openFPGALoader"
        tool.write_text(FAKE.format(python=sys.executable, folder=str(folder)))
        tool.chmod(0o755)

    def set(self, **fault: Any) -> None:
        """Choose what goes wrong."""
        (self.folder / "fault").write_text(json.dumps(fault))

    @property
    def calls(self) -> list[list[str]]:
        path = self.folder / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def memory(self, offset: int, length: int) -> bytes:
        return (self.folder / "memory").read_bytes()[offset:offset + length]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    folder = tmp_path / "tool"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return Tool(folder)


@pytest.fixture
def bitstream(tmp_path: Path) -> Path:
    path = tmp_path / "chip.bin"
    path.write_bytes(BITSTREAM)
    return path


@pytest.fixture
def model(tmp_path: Path, seed: int) -> tuple[Path, Model]:
    made = Model.random(ModelConfig(vocab_size=40, d_model=40, n_layers=2, d_hidden=80), seed)
    made.save(tmp_path / "model")
    return tmp_path / "model", made


def test_bitstream_alone(tool: Tool, bitstream: Path) -> None:
    flash_command("icebreaker", bitstream=bitstream)
    assert tool.memory(0, len(BITSTREAM)) == BITSTREAM
    scan, write = tool.calls
    assert scan == ["--scan-usb"]
    assert write[:-1] == ["--board", "ice40_generic", "--write-flash", "--verify"]


@pytest.mark.parametrize("slot", [0, 1])
def test_bitstream_and_model(tool: Tool, bitstream: Path, model: tuple[Path, Model],
                             slot: int) -> None:
    path, made = model
    flash_command("icebreaker", bitstream=bitstream, model=str(path), slot=slot)
    image = flash_image(compile_image(made, DEVICE), DEVICE)
    offset = FLASH_OFFSET + slot * FLASH_SLOT_BYTES
    assert tool.memory(offset, len(image)) == image
    assert tool.memory(0, len(BITSTREAM)) == BITSTREAM
    places = [int(call[call.index("--offset") + 1]) if "--offset" in call else 0
              for call in tool.calls[1:]]
    assert places == [offset, 0, offset]
    assert all("--verify" in call for call in tool.calls[1:])


def test_model_only(tool: Tool, model: tuple[Path, Model]) -> None:
    path, _ = model
    flash_command("icebreaker", model=str(path), model_only=True, say="".join(model[1].vocab[:3]))
    assert tool.memory(0, 16) == bytes(16)
    assert tool.memory(FLASH_OFFSET, 1) == bytes([Slip.END])


def test_it_says_what_it_changed_of_a_prompt(model: tuple[Path, Model],
                                             capsys: pytest.CaptureFixture[str]) -> None:
    say = "".join(model[1].vocab[:3])
    settings: dict[str, Any] = {"tokens": 1, "temperature": 0, "seed": 0}
    plain = make_image(model[0], DEVICE, say=say, **settings)
    assert not capsys.readouterr().err
    assert make_image(model[0], DEVICE, say="\ufeff" + say, **settings) == plain
    assert "the prompt: a byte order mark left out" in capsys.readouterr().err


def test_dry_run_writes_nothing(tool: Tool, bitstream: Path, model: tuple[Path, Model],
                                capsys: pytest.CaptureFixture[str]) -> None:
    flash_command("icebreaker", bitstream=bitstream, model=str(model[0]), dry_run=True)
    assert not tool.calls
    shown = capsys.readouterr().out
    assert shown.count("openFPGALoader --board ice40_generic --write-flash --verify") == 3
    assert f"--offset {FLASH_OFFSET}" in shown


def test_dry_run_needs_no_programmer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                     bitstream: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    flash_command("icebreaker", bitstream=bitstream, dry_run=True)


@pytest.mark.parametrize(("says", "status", "sentence"), [
    ("unable to open ftdi device: -3 (device not found)\nJTAG init failed", 1,
     "no 1BitSquared iCEBreaker was found on USB; plug it in"),
    ("JTAG init failed with: No device found", 1, "no 1BitSquared iCEBreaker was found on USB"),
    ("JTAG init failed with: Error: more than one device. Please provides VID/PID or cable-index",
     1, "several USB devices could be the 1BitSquared iCEBreaker; unplug all but one"),
    ("Error: flash vefication failed", 1, "answers wrongly"),
    ("unable to open ftdi device: -5 (unable to claim usb device)", 1,
     "is held by another program; close what uses its port"),
    ("unable to open ftdi device: -4 (usb_open() failed)", 1, "doctor --udev prints the rule"),
    ("Error: block protection is set\n       can't unlock without --unprotect-flash", 0,
     "is write-protected; remove the protection"),
    ("write en: Error", 1, "is write-protected"),
    ("Verification failed at 1048600", 0, "answers wrongly: what was read is not what was written"),
    ("Error: Read ID failed", 1, "answers wrongly"),
    ("Error: flash overflow", 1, "too small for what was to be written"),
    ("Error: mismatch between target's idcode and bitstream idcode", 1,
     "the FPGA that answers is not that of 1BitSquared iCEBreaker"),
    ("something new", 7, "failed with status 7 while writing the bitstream; it said 'something"),
])
def test_complaints_become_sentences(tool: Tool, bitstream: Path, says: str, status: int,
                                     sentence: str) -> None:
    tool.set(says=says, status=status)
    with pytest.raises(BuildError) as caught:
        flash_command("icebreaker", bitstream=bitstream)
    assert sentence in str(caught.value)
    assert len(tool.calls) == 2, "nothing is tried after that"


def test_two_boards_are_not_guessed_between(tool: Tool, bitstream: Path) -> None:
    """Lines as openFPGALoader 0.13 prints them."""
    tool.set(usb=[
        "001 005    0x0403:0x6010 FTDI2232        1BitSquared  ib0001               iCEBreaker V1",
        "001 006    0x0403:0x6014 ft232H          Digilent     210251A08870         Digilent",
        "001 007    0x0403:0x6010 FTDI2232        1BitSquared  ib0002               iCEBreaker V1"])
    with pytest.raises(BuildError, match=r"2 USB devices could be .*1:5 .*ib0001.*1:7 .*ib0002"):
        flash_command("icebreaker", bitstream=bitstream)
    flash_command("icebreaker", bitstream=bitstream, usb="1:7")
    assert tool.calls[-1][3:5] == ["--busdev-num", "1:7"]


def test_a_model_that_is_too_large_names_boards(tool: Tool, tmp_path: Path, bitstream: Path,
                                                seed: int) -> None:
    large = Model.random(ModelConfig(vocab_size=40, d_model=160, n_layers=3, d_hidden=256), seed)
    large.save(tmp_path / "large")
    with pytest.raises(ModelDoesNotFitError, match=r"weight words.*\. (Boards|No board)") as caught:
        flash_command("icebreaker", bitstream=bitstream, model=str(tmp_path / "large"))
    named = str(caught.value).partition("would hold it: ")[2]
    fits = [name for name in board_names()
            if not large.config.violations(board_device(name))]
    assert named == ", ".join(fits)
    assert not tool.calls


def test_boards_with_room_are_named(model: tuple[Path, Model]) -> None:
    small = replace(DEVICE, weight_words=64)
    with pytest.raises(ModelDoesNotFitError, match=r"Boards that would hold it: .*icebreaker"):
        make_image(model[0], small, say=None, tokens=1, temperature=0, seed=0)


@pytest.mark.parametrize(("options", "sentence"), [
    ({"model_only": True}, "give --model too"),
    ({"slot": 1}, "give --model too"),
    ({"say": "x"}, "give --model too"),
    ({"model": "bundled", "model_only": True, "bitstream": Path("x")}, "leave out --bitstream"),
])
def test_options_that_do_not_go_together(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BuildError, match=sentence):
        flash_command("icebreaker", **options)


RAW_BITSTREAMS = {"ice40": BITSTREAM, "ecp5": bytes.fromhex("ffffbdb3e2000000"),
                  "gowin": f"{'1' * 16}\n{6:08b}{0:024b}{0x81b:032b}\n{8:08b}{0:024b}\n".encode()}


def bitstream_of(board: FamilyBoard, folder: Path) -> Path:
    """Beginning and end of a bitstream of the board's part."""
    identities = {"25F": 0x41111043, "45F": 0x41112043, "85F": 0x41113043}
    data = RAW_BITSTREAMS[board.toolchain.name]
    if board.toolchain.name == "ecp5":
        size = next(size for size in identities if size in board.part)
        data += identities[size].to_bytes(4, "big") + bytes.fromhex("5e000000")
    path = folder / f"chip.{board.toolchain.bitstream}"
    path.write_bytes(data)
    return path


def booting(name: str) -> FamilyBoard:
    board = find_board(name)
    assert isinstance(board, FamilyBoard)
    return board


@pytest.mark.parametrize(("name", "offset", "options"), [
    ("ice40up5k-b-evn", 0x100000, ["--board", "ice40_generic"]),
    ("ulx3s-25f", 0x100000, ["--board", "ulx3s"]),
    ("ulx3s-45f", 0x200000, ["--board", "ulx3s"]),
    ("ulx3s-85f", 0x300000, ["--board", "ulx3s"]),
    ("colorlight-i5", 0x100000, ["--board", "colorlight-i5"]),
    ("colorlight-i9", 0x200000, ["--board", "colorlight-i9"]),
    ("ecpix5-45f", 0x200000, ["--board", "ecpix5"]),
    ("ecpix5-85f", 0x300000, ["--board", "ecpix5"]),
    ("tang-nano-20k", 0x100000, ["--board", "tangnano20k"]),
])
def test_each_board_has_its_place_for_a_model(tool: Tool, model: tuple[Path, Model],
                                              tmp_path: Path, name: str, offset: int,
                                              options: list[str]) -> None:
    board = booting(name)
    flash_command(name, bitstream=bitstream_of(board, tmp_path), model=str(model[0]))
    image = make_image(model[0], board.device_config, say=None, tokens=1000, temperature=0.8,
                       seed=0)
    assert tool.memory(offset, len(image)) == image
    writes = [call for call in tool.calls if call != ["--scan-usb"]]
    assert all(call[:4] == [*options, "--write-flash", "--verify"] for call in writes)
    places = [int(call[call.index("--offset") + 1]) if "--offset" in call else 0
              for call in writes]
    assert places == [offset, 0, offset]


def test_dfu_that_writes_from_the_first_byte_on(tool: Tool, model: tuple[Path, Model],
                                                bitstream: Path) -> None:
    flash_command("pico-ice", bitstream=bitstream, model=str(model[0]))
    image = make_image(model[0], DEVICE, say=None, tokens=1000, temperature=0.8, seed=0)
    assert tool.memory(0, len(BITSTREAM)) == BITSTREAM
    assert tool.memory(FLASH_OFFSET, len(image)) == image
    assert tool.memory(len(BITSTREAM), 1000) == 1000 * b"\xff"
    [first, second] = tool.calls
    assert first[:-1] == second[:-1] == ["--dfu", "--vid", "0x1209", "--pid", "0xb1c0",
                                         "--altsetting", "0"]
    with pytest.raises(BuildError, match="from its first byte on; leave out --model-only"):
        flash_command("pico-ice", model=str(model[0]), model_only=True)


@pytest.mark.parametrize(("name", "sentence"), [
    ("icebreaker-bitsy", "DFU, which reaches the bitstream only and not the model; .* --save"),
    ("orangecrab-85f", "DFU, which reaches the bitstream only and not the model; .* --save"),
    ("icesugar", "copy the bitstream onto the drive iCELink .* --save .* icesprog"),
])
def test_boards_whose_programmer_does_not_reach_the_model(
        tool: Tool, model: tuple[Path, Model], tmp_path: Path, name: str, sentence: str,
        capsys: pytest.CaptureFixture[str]) -> None:
    board = booting(name)
    path = bitstream_of(board, tmp_path)
    with pytest.raises(BuildError, match=sentence):
        flash_command(name, bitstream=path, model=str(model[0]))
    flash_command(name, bitstream=path, model=str(model[0]), save=tmp_path / "out")
    assert not tool.calls
    saved = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    image = make_image(model[0], board.device_config, say=None, tokens=1000, temperature=0.8,
                       seed=0)
    assert saved == {f"{name}{path.suffix}": path.read_bytes(), f"{name}-model.bin": image}
    assert f"{board.flash_offset:#x}" in capsys.readouterr().err


def test_files_that_cannot_be_saved(bitstream: Path) -> None:
    with pytest.raises(BuildError, match=r"cannot be written: .*; name another folder"):
        flash_command("icesugar", bitstream=bitstream, save=bitstream / "folder")


def test_a_model_that_the_flash_memory_has_no_room_for(
        tool: Tool, model: tuple[Path, Model], bitstream: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Icebreaker, "flash_bytes", FLASH_OFFSET + 1000)
    with pytest.raises(BuildError, match=r"from 0x100000 on, and that of icebreaker has 1,049,576"
                       ) as caught:
        flash_command("icebreaker", bitstream=bitstream, model=str(model[0]))
    named = str(caught.value).partition("would hold it: ")[2].split(", ")
    assert "ulx3s-45f" in named
    assert not {"icebreaker", "upduino3", "ulx3s-85f-sdram"} & set(named)
    for board in named:
        monkeypatch.setattr(type(booting(board)), "flash_bytes", 0)
    with pytest.raises(BuildError, match="No board of those that are installed would hold it"):
        flash_command("icebreaker", bitstream=bitstream, model=str(model[0]))
    assert not tool.calls


def test_a_bitstream_that_reaches_into_the_model(tool: Tool, model: tuple[Path, Model],
                                                 tmp_path: Path) -> None:
    path = tmp_path / "chip.bin"
    path.write_bytes(BITSTREAM.replace(b"configuration", FLASH_OFFSET * b"c"))
    with pytest.raises(BuildError, match="first model begins at 0x100000, which is less"):
        flash_command("icebreaker", bitstream=path, model=str(model[0]))
    assert not tool.calls


def test_a_board_without_a_button_has_one_slot(tool: Tool) -> None:
    with pytest.raises(BuildError, match="no button that would choose; leave out --slot"):
        flash_command("ulx3s-45f", model="bundled", model_only=True, slot=1)


def test_a_board_without_boot_says_so(tool: Tool) -> None:
    with pytest.raises(BuildError, match="does not boot from flash memory"):
        flash_command("upduino3", model="bundled", model_only=True)


def test_dfu_reaches_the_bitstream_only() -> None:
    class Dfu(Icebreaker):
        loader = ("--dfu",)

    programmer = best_programmer(Dfu())
    assert programmer.call(Part(what="b", offset=0, data=b""), "f") == [
        "openFPGALoader", "--dfu", "f"]
    with pytest.raises(BuildError, match="DFU, which reaches the bitstream only"):
        programmer.call(Part(what="the model", offset=FLASH_OFFSET, data=b""), "f")


def test_a_bitstream_for_another_fpga_is_refused(tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "ecp5.bit").write_bytes(bytes.fromhex("ffffbdb3"))
    with pytest.raises(BuildError, match="is no bitstream of an iCE40"):
        flash_command("icebreaker", bitstream=tmp_path / "ecp5.bit")
    with pytest.raises(BuildError, match=r"there is no bitstream .*none.bin; trilight build"):
        flash_command("icebreaker", bitstream=tmp_path / "none.bin")
    assert not tool.calls


def test_iceprog_serves_where_the_other_is_missing(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bitstream: Path,
        model: tuple[Path, Model]) -> None:
    calls, tool = tmp_path / "calls", tmp_path / "bin" / "iceprog"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent))
    flash_command("icebreaker", bitstream=bitstream, model=str(model[0]))
    offsets = [line.split()[1] if line.startswith("-o") else "0"
               for line in calls.read_text().splitlines()]
    assert offsets == [str(FLASH_OFFSET), "0", str(FLASH_OFFSET)]
    tool.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(BuildError, match="iceprog failed with status 3"):
        flash_command("icebreaker", bitstream=bitstream)


# ---- Power cuts


def boot(memory: bytes) -> tuple[list[bytes], str]:
    """Commands that a chip executes out of a slot, and how it ends; as ``hw/link/boot.py`` does.

    Written against its words, without its code: stop at the first packet that is no frame, at more
    bytes than a frame has, at a STOP or RUN; a slot that does not begin with a delimiter is empty.
    """
    if memory[0] != Slip.END:
        return [], "empty"
    executed: list[bytes] = []
    at = 0
    while at < len(memory):
        end = memory.find(bytes([Slip.END]), at)
        packet = memory[at:end if end >= 0 else len(memory)]
        at = end + 1
        if not packet:
            continue
        [*frames] = FrameReader().feed(bytes([Slip.END]) + packet + bytes([Slip.END]))
        if end < 0 or len(packet) > 2 * MAX_FRAME_BYTES or not frames:
            return executed, "damaged"
        executed.append(packet)
        if frames[0].command in (Command.STOP, Command.RUN):
            return executed, "whole"
    return executed, "damaged"


def cut(memory: bytearray, parts: list[Part], operations: int) -> int:
    """Write parts until power is cut: sectors are erased, then pages are written.

    A page at which it is cut has only some of its zeros. Returns how many operations there were.
    """
    done = 0
    for part in parts:
        sectors = range(part.offset, part.offset + len(part.data), SECTOR_BYTES)
        for start in sectors:
            if done == operations:
                return done
            memory[start:start + SECTOR_BYTES] = SECTOR_BYTES * b"\xff"
            done += 1
        for start in range(0, len(part.data), PAGE):
            page = part.data[start:start + PAGE]
            if done == operations:
                half = len(page) // 2
                memory[part.offset + start:part.offset + start + half] = page[:half]
                return done
            memory[part.offset + start:part.offset + start + len(page)] = page
            done += 1
    return done


def test_a_power_cut_while_dfu_writes(seed: int, rng: np.random.Generator) -> None:
    """From the first byte on, in sectors of 4,096 bytes; old and new model are of one shape."""
    config = ModelConfig(vocab_size=40, d_model=120, n_layers=2, d_hidden=200)
    old, new = image_of(config, seed), image_of(config, seed + 1)
    parts = linear_parts(BITSTREAM, new, FLASH_OFFSET)
    before = bytearray(b"\xff" * (FLASH_OFFSET + FLASH_SLOT_BYTES))
    before[FLASH_OFFSET:FLASH_OFFSET + len(old)] = old
    programs = {boot(image)[0][-2] for image in (old, new)}
    total = sum(len(part.data) for part in parts)
    model_at = [FLASH_OFFSET, len(parts[0].data) + FLASH_OFFSET]
    seen = set()
    for at in {*model_at, *(begin + int(k) for begin in model_at
                            for k in rng.integers(len(new), size=12)), total - 1, total}:
        memory, left = bytearray(before), at
        for part in parts:
            written = min(left, len(part.data))
            erased = min(-(-written // 4096) * 4096, len(before))
            memory[:erased] = erased * b"\xff"
            memory[:written] = part.data[:written]
            left -= written
        executed, end = boot(bytes(memory[FLASH_OFFSET:]))
        seen.add(end)
        if end == "whole":
            assert executed in (boot(old)[0], boot(new)[0])
        elif programs & set(executed):
            # Only the end is missing.
            assert executed in (boot(old)[0][:-1], boot(new)[0][:-1])
    assert seen == {"whole", "empty", "damaged"}


def image_of(config: ModelConfig, seed: int) -> bytes:
    return flash_image(compile_image(Model.random(config, seed), DEVICE), DEVICE)


@pytest.mark.parametrize("d_hidden", [40, 200])
def test_a_power_cut_never_leaves_half_a_model(d_hidden: int, seed: int,
                                               rng: np.random.Generator) -> None:
    config = ModelConfig(vocab_size=40, d_model=120, n_layers=2, d_hidden=d_hidden)
    old, new = image_of(config, seed), image_of(config, seed + 1)
    whole = {boot(image)[0][-2]: image for image in (old, new)}
    assert len(whole) == 2
    parts = [*image_parts(new, 0)]
    before = bytearray(b"\xff" * FLASH_SLOT_BYTES)
    before[:len(old)] = old
    operations = cut(bytearray(before), parts, -1)
    cuts = {0, 1, 2, operations - 1, operations,
            *(int(k) for k in rng.integers(operations, size=30))}
    seen = set()
    for number in cuts:
        memory = bytearray(before)
        cut(memory, parts, number)
        executed, end = boot(bytes(memory))
        seen.add(end)
        if end == "whole":
            assert executed in (boot(old)[0], boot(new)[0])
        else:
            # Without its program, which comes last, a chip runs nothing.
            assert not any(packet in executed for packet in whole)
    assert seen == {"whole", "empty", "damaged"}


def test_the_order_without_care_would_leave_half_a_model(seed: int) -> None:
    """The check above can fail: the image written over the old one from its beginning."""
    config = ModelConfig(vocab_size=40, d_model=120, n_layers=2, d_hidden=200)
    old, new = image_of(config, seed), image_of(config, seed + 1)
    memory = bytearray(b"\xff" * FLASH_SLOT_BYTES)
    memory[:len(old)] = old
    memory[:SECTOR_BYTES] = new[:SECTOR_BYTES]
    executed, _ = boot(bytes(memory))
    assert executed[:5] == boot(new)[0][:5] != boot(old)[0][:5]
def test_flash_names_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError) as caught:
        flash_command("icebreaker")
    for word in ("openFPGALoader", "iceprog", "apt-get install", "brew install", "pacman -S"):
        assert word in str(caught.value)


@pytest.mark.parametrize("setting", [{"frequency": 24e6}, {"baud": 1e6}, {"seeds": "1"}])
def test_flash_refuses_settings_of_a_finished_bitstream(setting: dict[str, Any]) -> None:
    with pytest.raises(BuildError, match="is written as it is; leave out --frequency, --baud"):
        flash_command("icebreaker", bitstream=Path("chip.bin"), **setting)


