"""Released builds: bundled bitstreams, and the tables of boards.md."""

import hashlib
import json
import lzma
from collections.abc import Sequence
from pathlib import Path

import pytest

from trilight.boards import command, listing, releases
from trilight.boards.echo import Echo
from trilight.boards.families.board import FamilyBoard
from trilight.boards.icebreaker import Icebreaker
from trilight.boards.images import Speech, make_image
from trilight.hw.contract.errors import BuildError
from trilight.hw.flow.build import DEFAULT_SEEDS, design_sha256, find_board
from trilight.hw.support.boards import board_names
from trilight.sw.cli.app import main
from trilight.sw.report.boards import board_speed

RELEASED = {name: figures for name, figures in releases.all_figures().items()
            if "capacity" in figures}

CARRIED = [name for name in board_names() if releases.bitstream_path(name).is_file()]


def test_released_boards_are_installed() -> None:
    assert set(releases.all_figures()) <= set(board_names())


@pytest.mark.parametrize("name", CARRIED)
def test_a_bitstream_is_the_one_that_its_figures_name(name: str) -> None:
    board = find_board(name, chip=Echo)
    data = releases.load_bitstream(name)
    assert data is not None
    assert board.bitstream_problem(data) is None
    assert releases.pack_bitstream(data) == releases.bitstream_path(name).read_bytes()


def test_a_damaged_bitstream_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, data = tmp_path / "board.bitstream.xz", b"configuration" * 40
    monkeypatch.setattr(releases, "bitstream_path", lambda _board: path)
    monkeypatch.setattr(releases, "load_release", lambda _board: {
        "bitstream_sha256": hashlib.sha256(data).hexdigest()})
    assert releases.load_bitstream("board") is None
    path.write_bytes(releases.pack_bitstream(data))
    assert releases.load_bitstream("board") == data
    for wrong in (lzma.compress(data[1:]), b"", b"nothing", path.read_bytes()[:-9]):
        path.write_bytes(wrong)
        with pytest.raises(BuildError, match="is not the bitstream that"):
            releases.load_bitstream("board")


def test_a_released_bitstream_is_taken_if_the_design_is_unchanged(
        monkeypatch: pytest.MonkeyPatch) -> None:
    board = Icebreaker(chip=Echo)
    released = {"design_sha256": design_sha256(board), "seed": 2}
    monkeypatch.setattr(command, "load_release", lambda _board: released)
    monkeypatch.setattr(command, "load_bitstream", lambda _board: b"released")
    asked = []

    def build(board: object, *, seeds: Sequence[int], progress: object) -> None:
        asked.append(list(seeds))
        raise BuildError("placed")

    monkeypatch.setattr(command, "build", build)
    said: list[str] = []
    assert command.bitstream_for(board, None, said.append) == b"released"
    assert "unchanged" in said[0]
    # Others are placed: seeds that were asked for, another clock, a change of the design.
    for other, seeds in ((board, "4"), (Icebreaker(chip=Echo, frequency=24e6), None)):
        with pytest.raises(BuildError, match="placed"):
            command.bitstream_for(other, seeds, said.append)
    released["design_sha256"] = "0" * 64
    with pytest.raises(BuildError, match="placed"):
        command.bitstream_for(board, None, said.append)
    assert asked == [[4], [*DEFAULT_SEEDS], [*DEFAULT_SEEDS]]


@pytest.mark.parametrize("name", RELEASED)
def test_what_a_released_board_does_is_computed_from_its_sizes(name: str) -> None:
    figures = RELEASED[name]
    board = find_board(name, frequency=figures["clock_hz"], chip=Echo)
    assert board_speed(board.device_config, board.clock_hz)["capacity"] == figures["capacity"]  # type: ignore[attr-defined]  # every board of ours has sizes
    if "image_bytes" in figures:
        assert isinstance(board, FamilyBoard)
        assert figures["configuration_hz"] == board.configuration_hz
        assert figures["image_bytes"] == len(make_image("bundled", board.device_config, Speech()))
    needed = figures["clock_hz"] * (1 + figures["clock_tolerance"])
    assert max(figures["fmax_hz"].values()) >= needed


def test_tables_of_the_page_are_those_of_the_releases() -> None:
    page = (Path(__file__).parents[2] / "docs" / "boards.md").read_text(encoding="utf-8")
    for table in listing.markdown(RELEASED).split("\n\n"):
        assert table in page, "renew docs/boards.md with trilight boards --markdown"


def test_times_from_power_up() -> None:
    """Of the iCEBreaker, counted anew: a byte of flash takes 32 cycles of 48 MHz, 127 of them pass
    before the first and 26 cycles after the last."""
    [row] = [row for row in listing.start_rows(RELEASED) if row[0] == "icebreaker"]
    _, bitstream, configuration, image, load, total = row
    image_bytes = int(image.replace(",", ""))
    load_ms = ((127 + image_bytes) * 32 + 26) / 48e3
    configuration_ms = 8 * 104_090 / 7e3
    assert (bitstream, configuration, load) == (
        "104,090", f"{configuration_ms:.0f}", f"{load_ms:.1f}")
    assert total == f"{configuration_ms + load_ms + 16_714 / 48e3:.0f}"


@pytest.mark.parametrize("width", [60, 80, 200])
def test_narrow_terminals_cut_no_word(width: int, monkeypatch: pytest.MonkeyPatch,
                                      capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["boards"]) == 0
    shown = capsys.readouterr().out
    assert "\u2026" not in shown
    assert all(len(line) <= width for line in shown.splitlines())
    for name in RELEASED:
        assert shown.count(f" {name} ") >= 2
    for word in ["FPGA", "clock", "logic", "model", "tokens/s", "sequences"]:
        assert f" {word}" in shown
    assert ("A wider terminal, or --json, shows" in shown) == (width < 200)


def test_boards_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "boards.json"
    assert main(["boards", "--json", str(out)]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in RELEASED)
    assert json.loads(out.read_text()) == RELEASED
    assert main(["boards", "--json", str(tmp_path / "none" / "boards.json")]) == 2
