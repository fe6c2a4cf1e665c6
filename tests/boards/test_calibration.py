"""Calibration designs: what they are made of, and that their kept counts are of these netlists."""

import itertools

import pytest

from trilight.boards.calibration import (
    DESIGNS,
    PUBLISHED,
    CalibrationBoard,
    all_boards,
    calibration_board,
    calibration_boards,
    lfsr_taps,
)
from trilight.hw.contract.errors import BoardError
from trilight.hw.flow.build import build, synthesise, tool_versions
from trilight.sim.power.activity import measure_design
from trilight.sim.power.command import count_designs
from trilight.sw.power.designs import load_designs, read_tools
from trilight.sw.power.fit import calibration_points


def test_points_and_bitstreams_have_the_same_names() -> None:
    names = [point.name for point in calibration_points()]
    assert names == [board.name for board in calibration_boards()]
    assert [calibration_board(name).name for name in names] == names
    assert [calibration_board(point.name).clock_hz for point in calibration_points()] == [
        point.clock_hz for point in calibration_points()]


def test_every_design_is_counted() -> None:
    assert set(load_designs()) == set(PUBLISHED) | set(DESIGNS)
    assert {board.design_name for board in all_boards()} == set(load_designs())


@pytest.mark.parametrize("name", ["counter-28", "ff-64", "product-dsp"])
def test_kept_counts_are_of_this_netlist(name: str) -> None:
    """The hash guards them; with other tools than they were counted with, the counts have to hold.
    """
    kept = load_designs()[name]
    board = next(board for board in all_boards() if board.design_name == name)
    netlist = synthesise(board)
    if read_tools() == tool_versions(*read_tools()):
        assert netlist.sha256 == kept.netlist_sha256
        assert netlist.cells == kept.cells
    activity = measure_design(netlist, settle=board.chosen.settle, length=board.chosen.length)
    assert activity == kept.activity


def degree_of_irreducibility(bits: int, exponents: tuple[int, ...]) -> bool:
    """Whether x**bits + sum x**e + 1 divides x**(2**bits) - x (Rabin's first condition)."""
    polynomial = 1 << bits | 1 | sum(1 << e for e in exponents)

    def square(value: int) -> int:
        spread = sum(1 << 2 * k for k in range(bits) if value >> k & 1)
        for k in range(2 * bits - 2, bits - 1, -1):
            if spread >> k & 1:
                spread ^= polynomial << (k - bits)
        return spread

    value = 2
    for _ in range(bits):
        value = square(value)
    return value == 2


@pytest.mark.parametrize("bits", [64, 128])
def test_feedback_polynomials(bits: int) -> None:
    assert degree_of_irreducibility(bits, lfsr_taps(bits))
    assert not degree_of_irreducibility(bits, (lfsr_taps(bits)[0], 60, 59))


def test_register_with_linear_feedback_toggles_in_half_of_all_cycles() -> None:
    """Of a maximal sequence each stage changes 2**(n-1) times in 2**n - 1 cycles."""
    activity = load_designs()["dsp-1"].activity
    # Of 128 stages, those that feed nothing but the next one are routed too.
    assert activity.ff_clocked == 129
    assert activity.net_transitions > 128 * 2**127 / (2**128 - 1) * 0.99


def test_resources_fit_the_part() -> None:
    limits = {"SB_RAM40_4K": 30, "SB_SPRAM256KA": 4, "SB_MAC16": 8}
    for name, design in load_designs().items():
        for cell, limit in limits.items():
            assert design.cells.get(cell, 0) <= limit, name
        flip_flops = sum(n for cell, n in design.cells.items() if cell.startswith("SB_DFF"))
        assert max(design.cells.get("SB_LUT4", 0), flip_flops) < 5280, name


def test_cells_are_those_of_the_published_designs() -> None:
    """Logic cells in excess of the 24-bit counter's: 180 for the product, 44 with a DSP cell."""
    def luts(name: str) -> int:
        return load_designs()[name].cells["SB_LUT4"]

    counters = [luts(f"counter-{bits}") for bits in (28, 56, 112, 224)]
    assert [b - a for a, b in itertools.pairwise(counters)] == [28, 56, 112]
    assert luts("product-logic") - luts("counter-24") == pytest.approx(208 - 28, rel=0.05)
    assert load_designs()["product-dsp"].cells["SB_MAC16"] == 1


@pytest.mark.parametrize(("name", "message"), [
    ("oven@48MHz", "there is no calibration design 'oven'; there is counter-24, "),
    ("ff-64@50MHz", "the internal oscillator makes 48000000, .* not 50000000"),
    ("ff-64", "not 0")])
def test_refusals(name: str, message: str) -> None:
    with pytest.raises(BoardError, match=message):
        calibration_board(name)
    with pytest.raises(BoardError, match="the clock pin 12000000, not 24000000"):
        CalibrationBoard("ff-64", 24_000_000, hfosc=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ff-64@48MHz", "tree-6@48MHz", "ebr-8-spram-4@48MHz",
                                  "ebr-24-spram-0@48MHz", "dsp-6@48MHz"])
def test_bitstreams_meet_the_fastest_clock(name: str) -> None:
    figures = build(calibration_board(name), seeds=[1]).figures
    assert figures["fmax_hz"]["1"] >= 48e6
    assert figures["clock_source"] == "internal oscillator"


@pytest.mark.slow
def test_all_counts_can_be_counted_again() -> None:
    assert {name: design.activity for name, design in count_designs().items()} == {
        name: design.activity for name, design in load_designs().items()}
