"""Cells and nets from configuration bits.

The netlist is followed from the pins that the part drives back to whatever drives them. Each bit
that is looked at is noted, and a set bit that none has looked at is an error: what is not
understood is never left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from trilight.sw.errors import BitstreamError

from . import blocks
from .blocks import Block
from .chip import HEIGHT, Chip, Place, Wire
from .design import Cell, PllSetting, RecoveredDesign
from .image import Image

__all__ = ["recover"]

ZERO, ONE = "1'b0", "1'b1"

LUT_BITS = (4, 14, 15, 5, 6, 16, 17, 7, 3, 13, 12, 2, 1, 11, 10, 0)
"""Bits of a logic cell that hold the values of its table for inputs I3 I2 I1 I0, as a number."""

CARRY_BIT, FLIP_FLOP_BIT, SET_BIT, ASYNC_BIT = 8, 9, 18, 19

PASS_INPUT_2 = {index for value, index in enumerate(LUT_BITS) if value & 4}
"""Bits of a logic cell that the places beside blocks need: their tables pass input 2 on."""

COLUMN_BUFFERS = ((4, 4), (10, 5), (14, 14), (20, 15), (26, 26), (HEIGHT - 1, 27))
"""Up to which row of tiles the column buffer in which row drives the global networks."""

OSCILLATORS = {4: "CLKHF", 5: "CLKLF"}
"""Global networks that an oscillator drives where others are driven by a pad."""

PLL_NETWORK = 7
"""Global network that the PLL drives instead of its pad."""

PLL_WIDTHS = {"DIVR": 4, "DIVF": 7, "DIVQ": 3, "FILTER_RANGE": 3, "FEEDBACK_PATH": 3,
              "PLLOUT_SELECT_A": 2, "PLLTYPE": 3}

PLL_PAD = 2
"""Type of a PLL with one output and a pad as reference."""


def recover(chip: Chip, image: Image, ports: Mapping[str, str]) -> RecoveredDesign:
    """Find the netlist that a bitstream configures.

    Parameters
    ----------
    ports
        Name of a port by the number of its pin on the package; ``pin_N`` for pins that it lacks.

    Raises
    ------
    BitstreamError
        The bits configure what is not understood, or what cannot work.
    """
    return _Recovery(chip, image, ports).run()


def _bits(value: int, width: int) -> str:
    return f"{width}'b{value:0{width}b}"


@dataclass
class _Recovery:
    chip: Chip
    image: Image
    ports: Mapping[str, str]
    cells: list[Cell] = field(default_factory=list)
    nets: dict[int, str] = field(default_factory=dict)
    """Net by the number of the wire that is its root."""
    todo: list[int] = field(default_factory=list)
    """Roots whose cells are still to be made."""

    def __post_init__(self) -> None:
        self.tiles, self.rest = self.chip.split(self.image)
        switched = self.chip.switched(self.tiles)
        self.drivers, self.known = switched.drivers, switched.used
        self.port_of = {place: self.ports.get(pin, f"pin_{pin}")
                        for pin, place in self.chip.pins.items()}
        self.pins: dict[Place, str] = {}
        """Pads in use, and their direction."""
        self.blocks = [*blocks.rams(), *blocks.mac16s(), *blocks.sprams(), blocks.hfosc()]
        self.pll = self.read_pll()
        if self.pll:
            self.blocks.append(blocks.pll())
        self.block_of = {self.number(wire): (block, port, bit) for block in self.blocks
                         for port, wires in block.outputs.items()
                         for bit, wire in enumerate(wires)}
        self.made: set[str] = set()

    def run(self) -> RecoveredDesign:
        self.check_buffers()
        for place in self.port_of:
            if any(self.pad_type(place)[2:]):
                self.make_pad(place)
        while self.todo:
            self.make(self.todo.pop())
        self.note_cells()
        self.check_connections()
        self.check_bits()
        pins = {self.port_of[place]: direction for place, direction in self.pins.items()}
        return RecoveredDesign(self.cells, dict(sorted(pins.items())), self.pll)

    # ---- Bits

    def bit(self, x: int, y: int, name: str, index: int = 0) -> bool:
        row, column = self.chip.kind(x, y).bits[name][index]
        self.known[x, y][row, column] = True
        return bool(self.tiles[x, y][row, column])

    def logic_cell(self, x: int, y: int, z: int) -> list[bool]:
        return [self.bit(x, y, f"LC_{z}", index) for index in range(20)]

    def settings(self, kind: str, place: Place, widths: Mapping[str, int]) -> dict[str, int]:
        """Numbers that a block's parameters have."""
        where = self.chip.settings[kind, place]
        # Bits of a block lie in tiles with the prefix of what they configure there.
        prefix = "PLL" if kind == "pll" else "IpConfig"
        values = {}
        for parameter, width in widths.items():
            names = [parameter] if width == 1 else [f"{parameter}_{k}" for k in range(width)]
            cells = (where[name] for name in names)
            values[parameter] = sum(self.bit(x, y, f"{prefix}.{bit}") << k
                                    for k, (x, y, bit) in enumerate(cells))
        return values

    # ---- Nets

    def number(self, wire: Wire) -> int:
        return self.chip.numbers[wire]

    def input(self, wire: Wire, default: str = ZERO) -> str:
        """Net that drives an input, or what the part makes of one that is not connected."""
        number = self.number(wire)
        return self.net(number) if number in self.drivers else default

    def net(self, number: int) -> str:
        """Net of a wire; its cell will be made."""
        start = number
        seen = set()
        while number in self.drivers:
            seen.add(number)
            number = self.drivers[number]
            if number in seen:
                raise BitstreamError(f"switches connect {self.chip.names[start]} in a circle")
        if number not in self.nets:
            self.nets[number] = self.name_net(number, start)
        return self.nets[number]

    def name_net(self, number: int, start: int) -> str:
        root = self.chip.names[number]
        x, y, name = root
        block, _, what = name.rpartition(":")
        z = block.removeprefix("lutff_")
        if number in self.block_of:
            found, port, bit = self.block_of[number]
            # The carry of a multiplier is the only output that leaves through a tile of no input.
            if (found.kind, port) == ("SB_MAC16", "CO") and not self.passes(x, y, 0):
                raise BitstreamError(f"the carry of {found.name} is used, but the tile ({x}, {y}) "
                                     "above it is not set up to pass it on")
            net = self.block_net(found, port, bit)
        elif what == "out" and self.bit(x, y, f"LC_{z}", FLIP_FLOP_BIT):
            net = f"q_{x}_{y}_{z}"
        elif what in ("out", "lout"):
            return self.table_net(number, x, y, z)
        elif what == "cout":
            net = f"carry_{x}_{y}_{z}"
        elif what == "carry_in_mux":
            return ONE if self.bit(x, y, "CarryInSet") else ZERO
        elif what.startswith("glb_netwk_"):
            return self.global_net(int(what[-1]))
        elif what.startswith("D_IN_"):
            return self.pad_input((x, y, int(block[-1])), what)
        else:
            raise BitstreamError(f"{self.chip.names[start]} reads {root}, which nothing drives")
        self.todo.append(number)
        return net

    def table_net(self, number: int, x: int, y: int, z: str) -> str:
        """Net of a lookup table, whose output has a wire before and one after its flip-flop."""
        if self.chip.names[number].name.endswith("lout"):
            other = f"lutff_{z}:out"
        else:
            other = f"lutff_{z}:lout"
        twin = self.chip.numbers.get(Wire(x, y, other))
        net = f"lut_{x}_{y}_{z}"
        if net not in self.made:
            self.made.add(net)
            self.todo.append(number)
        if twin is not None and twin not in self.nets and other.endswith("lout"):
            self.nets[twin] = net
        return net

    @staticmethod
    def block_net(block: Block, port: str, bit: int) -> str:
        name = f"{block.name}_{port}"
        return name if len(block.outputs[port]) == 1 else f"{name}[{bit}]"

    # ---- Cells

    def add(self, kind: str, name: str, inputs: Mapping[str, str | list[str]],
            outputs: Mapping[str, str | list[str]],
            parameters: Mapping[str, str] | None = None) -> None:
        def lists(ports: Mapping[str, str | list[str]]) -> dict[str, list[str]]:
            return {port: [nets] if isinstance(nets, str) else nets
                    for port, nets in ports.items()}

        self.cells.append(Cell(kind, name, parameters or {}, lists(inputs), lists(outputs)))

    def make(self, number: int) -> None:
        """Make the cell that drives a root."""
        if number in self.block_of:
            self.make_block(self.block_of[number][0])
            return
        x, y, name = self.chip.names[number]
        cell, _, what = name.partition(":")
        z = int(cell.removeprefix("lutff_"))
        if what == "cout":
            self.make_carry(x, y, z)
        elif self.nets[number].startswith("q_"):
            self.make_flip_flop(x, y, z)
        else:
            self.make_table(x, y, z)

    def table_inputs(self, x: int, y: int, z: int) -> list[str]:
        return [self.input(Wire(x, y, f"lutff_{z}:in_{k}")) for k in range(4)]

    def make_table(self, x: int, y: int, z: int) -> None:
        bits = self.logic_cell(x, y, z)
        table = sum(bits[index] << value for value, index in enumerate(LUT_BITS))
        name = f"lut_{x}_{y}_{z}"
        inputs = {f"I{k}": net for k, net in enumerate(self.table_inputs(x, y, z))}
        self.add("SB_LUT4", f"{name}_cell", inputs, {"O": name}, {"LUT_INIT": f"16'h{table:04x}"})

    def make_flip_flop(self, x: int, y: int, z: int) -> None:
        bits = self.logic_cell(x, y, z)
        table = f"lut_{x}_{y}_{z}"
        if table not in self.made:
            self.made.add(table)
            self.make_table(x, y, z)
        clock, enable, reset = (Wire(x, y, f"lutff_global:{name}")
                                for name in ("clk", "cen", "s_r"))
        if self.number(clock) not in self.drivers:
            raise BitstreamError(f"the flip-flop of logic cell {z} of tile ({x}, {y}) has no clock")
        kind = "SB_DFFN" if self.bit(x, y, "NegClk") else "SB_DFF"
        inputs = {"C": self.input(clock), "D": table}
        if self.number(enable) in self.drivers:
            kind += "E"
            inputs["E"] = self.input(enable)
        if self.number(reset) in self.drivers:
            port = "S" if bits[SET_BIT] else "R"
            kind += port if bits[ASYNC_BIT] else f"S{port}"
            inputs[port] = self.input(reset)
        name = f"q_{x}_{y}_{z}"
        self.add(kind, f"{name}_cell", inputs, {"Q": name})

    def make_carry(self, x: int, y: int, z: int) -> None:
        if not self.bit(x, y, f"LC_{z}", CARRY_BIT):
            raise BitstreamError(f"the carry of logic cell {z} of tile ({x}, {y}) is used but "
                                 "not switched on")
        _, first, second, _ = self.table_inputs(x, y, z)
        below = Wire(x, y, f"lutff_{z - 1}:cout" if z else "carry_in_mux")
        name = f"carry_{x}_{y}_{z}"
        self.add("SB_CARRY", f"{name}_cell",
                 {"I0": first, "I1": second, "CI": self.net(self.number(below))}, {"CO": name})

    # ---- Larger blocks

    def make_block(self, block: Block) -> None:
        if block.name in self.made:
            return
        self.made.add(block.name)
        inputs: dict[str, str | list[str]] = {
            port: [self.input(wire, ONE if port in block.ones else ZERO) for wire in wires]
            for port, wires in block.inputs.items() if not port.startswith(("ACCUM", "SIGN"))}
        outputs: dict[str, str | list[str]] = {
            port: [self.block_net(block, port, bit) for bit in range(len(wires))]
            for port, wires in block.outputs.items()}
        parameters = {}
        match block.kind:
            case "SB_RAM40_4K":
                parameters = self.ram_parameters(block, inputs)
            case "SB_MAC16":
                parameters = self.mac16_parameters(block, inputs)
            case "SB_SPRAM256KA":
                if not self.spram_enabled(block):
                    raise BitstreamError(f"{block.name} is used but not switched on")
                self.check_feed_through(block)
            case "SB_HFOSC":
                self.check_feed_through(block)
                divider = self.settings("hfosc", block.place, {"CLKHF_DIV": 2})["CLKHF_DIV"]
                parameters = {"CLKHF_DIV": f'"0b{divider:02b}"'}
            case "SB_PLL40_PAD":
                self.pll_connections(inputs, outputs)
                parameters = self.pll_parameters()
        self.add(block.kind, f"{block.name}_cell", inputs, outputs, parameters)

    def ram_parameters(self, block: Block, inputs: dict[str, str | list[str]]) -> dict[str, str]:
        x, y, _ = block.place
        if not self.bit(x, y, "RamConfig.PowerUp"):
            raise BitstreamError(f"{block.name} is used but not switched on")
        mode = [self.bit(x, y + 1, f"RamConfig.CBIT_{k}") for k in range(4)]
        lower, upper = (self.bit(x, row, "NegClk") for row in (y, y + 1))
        if lower != upper:
            raise BitstreamError(f"the two ports of {block.name} use different edges of a clock; "
                                 "IceStorm's documentation and nextpnr do not agree on which uses "
                                 "which")
        if lower:
            inputs |= {port: f"~{inputs[port][0]}" for port in ("RCLK", "WCLK")}
        contents = self.chip.ram(self.image, x, y)
        return {"WRITE_MODE": str(mode[0] + 2 * mode[1]), "READ_MODE": str(mode[2] + 2 * mode[3]),
                **{f"INIT_{k:X}": f"256'h{contents >> 256 * k & (1 << 256) - 1:x}"
                   for k in range(16)}}

    def mac16_parameters(self, block: Block, inputs: dict[str, str | list[str]]) -> dict[str, str]:
        x, y, _ = block.place
        widths = blocks.MAC16_PARAMETERS
        values = self.settings("mac16", block.place, widths)
        self.check_feed_through(block)
        # The lowest of a row takes zero from below.
        for port, parameter, value in (("ACCUMCI", "BOTADDSUB_CARRYSELECT", 2),
                                       ("SIGNEXTIN", "BOTADDSUB_LOWERINPUT", 3)):
            number = self.number(block.inputs[port][0])
            below = self.block_of.get(number)
            inputs[port] = ZERO
            if values[parameter] == value and below is not None and below[0] is not block:
                inputs[port] = self.net(number)
        return {"NEG_TRIGGER": _bits(self.bit(x, y + 2, "NegClk"), 1),
                **{name: _bits(value, widths[name]) for name, value in values.items()}}

    def spram_enabled(self, block: Block) -> bool:
        return bool(self.settings("spram", block.place, {"SPRAM_EN": 1})["SPRAM_EN"])

    def check_feed_through(self, block: Block) -> None:
        """Check that the places of logic cells beside a block are what it needs."""
        for x, y in sorted(blocks.connection_tiles(block)):
            # All of them, with what a block may send back through the same tile.
            if self.chip.grid[y][x] and not all(self.passes(x, y, z) for z in range(8)):
                raise BitstreamError(f"{block.name} is used, but the tile ({x}, {y}) beside it "
                                     "is not set up to connect it")

    def passes(self, x: int, y: int, z: int) -> bool:
        """Tell if a place of a logic cell beside a block passes a signal on.

        No other setting of it is known.
        """
        kind = self.chip.grid[y][x]
        prefix = "IPCON" if kind == 9 else f"MULT{kind - 5}"
        cells = self.chip.kind(x, y).bits[f"LC_{z}"]
        table = {index for index, cell in enumerate(cells) if self.tiles[x, y][cell]}
        on = table == PASS_INPUT_2 and self.bit(x, y, f"Cascade.{prefix}_LC0{z}_inmux02_5")
        if on:
            self.know(x, y, cells)
        return on

    # ---- PLL

    def read_pll(self) -> PllSetting | None:
        place = blocks.pll().place
        values = self.settings("pll", place, {"PLLTYPE": 3})
        if values["PLLTYPE"] == 0:
            return None
        values = self.settings("pll", place, PLL_WIDTHS)
        if values["PLLTYPE"] != PLL_PAD:
            raise BitstreamError(f"the PLL is of type {values['PLLTYPE']:03b}; there is a model of "
                                 f"{PLL_PAD:03b} (SB_PLL40_PAD) only")
        if values["FEEDBACK_PATH"] != 1 or values["PLLOUT_SELECT_A"] != 0:
            raise BitstreamError("the PLL has the feedback path "
                                 f"{values['FEEDBACK_PATH']:03b} and the output "
                                 f"{values['PLLOUT_SELECT_A']:02b}; there is a model of simple "
                                 "feedback (001) and the undivided output (00) only")
        return PllSetting(values["DIVR"], values["DIVF"], values["DIVQ"], values["FILTER_RANGE"])

    def pll_parameters(self) -> dict[str, str]:
        assert self.pll is not None
        return {"FEEDBACK_PATH": '"SIMPLE"', "PLLOUT_SELECT": '"GENCLK"',
                "DIVR": _bits(self.pll.divr, 4), "DIVF": _bits(self.pll.divf, 7),
                "DIVQ": _bits(self.pll.divq, 3), "FILTER_RANGE": _bits(self.pll.filter_range, 3)}

    def pll_connections(self, inputs: dict[str, str | list[str]],
                        outputs: dict[str, str | list[str]]) -> None:
        place, _ = self.chip.pads[PLL_NETWORK]
        self.require_input(place)
        inputs["PACKAGEPIN"] = self.use_pin(place, "input")
        outputs["PLLOUTGLOBAL"] = self.pll_global

    @property
    def pll_global(self) -> str:
        return f"{blocks.pll().name}_PLLOUTGLOBAL"

    # ---- Global networks

    def global_net(self, network: int) -> str:
        pad, bit = self.chip.pads[network]
        x, y = self.chip.buffers[network]
        fabric = Wire(x, y, "fabout")
        driven = self.number(fabric) in self.drivers
        if bit not in self.rest:
            if not driven:
                raise BitstreamError(f"global network {network} is used, but neither its pad nor "
                                     f"{fabric} drives it")
            name = f"global_{network}"
            self.add("SB_GB", f"{name}_cell",
                     {"USER_SIGNAL_TO_GLOBAL_BUFFER": self.input(fabric)},
                     {"GLOBAL_BUFFER_OUTPUT": name})
            return name
        if driven and network != PLL_NETWORK:
            raise BitstreamError(f"global network {network} is driven twice: by its pad and by "
                                 f"{fabric}")
        if network in OSCILLATORS:
            return self.oscillator(network)
        if network == PLL_NETWORK and self.pll:
            self.todo.append(self.number(blocks.pll().outputs["PLLOUTCORE"][0]))
            return self.pll_global
        self.require_input(pad)
        return self.use_pin(pad, "input")

    def oscillator(self, network: int) -> str:
        output = OSCILLATORS[network]
        if output != "CLKHF":
            raise BitstreamError(f"global network {network} is that of the oscillator SB_LFOSC, "
                                 "of which there is no model")
        number = self.number(blocks.hfosc().outputs[output][0])
        return self.net(number)

    def check_buffers(self) -> None:
        """Check that global networks reach the columns that use them."""
        networks = {self.number(wire): wire for wire in
                    (Wire(0, 1, f"glb_netwk_{k}") for k in range(8))}
        for sink, source in self.drivers.items():
            if source in networks:
                x, y, name = self.chip.names[sink]
                row = next(row for last, row in COLUMN_BUFFERS if y <= last)
                if not self.bit(x, row, f"ColBufCtrl.{networks[source].name}"):
                    raise BitstreamError(f"{name} of tile ({x}, {y}) takes "
                                         f"{networks[source].name}, but its column buffer in tile "
                                         f"({x}, {row}) is off")

    # ---- Pads

    def pad_type(self, place: Place) -> list[bool]:
        x, y, z = place
        return [self.bit(x, y, f"IOB_{z}.PINTYPE_{k}") for k in range(6)]

    def use_pin(self, place: Place, direction: str) -> str:
        if place not in self.port_of:
            raise BitstreamError(f"pad {place} is used, which the package SG48 has no pin for")
        if self.pins.setdefault(place, direction) != direction:
            self.pins[place] = "inout"
        return self.port_of[place]

    def require_input(self, place: Place) -> None:
        x, y, z = self.chip.inputs[place]
        if not self.bit(x, y, f"IoCtrl.IE_{z}"):
            raise BitstreamError(f"pin {self.port_of.get(place, place)} is read, but its input "
                                 "is off")

    def pad_input(self, place: Place, what: str) -> str:
        if what != "D_IN_0":
            raise BitstreamError(f"pad {place} is read at both edges of a clock (D_IN_1), of which "
                                 "there is no model")
        self.use_pin(place, "inout")
        self.require_input(place)
        self.make_pad(place)
        return f"{self.port_of[place]}_in"

    def make_pad(self, place: Place) -> None:
        x, y, z = place
        port = self.port_of[place]
        if f"pad {port}" in self.made:
            return
        self.made.add(f"pad {port}")
        bits = self.pad_type(place)
        kind = sum(bit << k for k, bit in enumerate(bits))
        if bits[1] or (kind >> 4 and not kind >> 2 & 3):
            raise BitstreamError(f"pin {port} is of the type {kind:06b}, a latch or with data at "
                                 "both edges of a clock, of which there is no model")
        # The pad's cell has a port for both directions.
        self.use_pin(place, "inout")
        negative = {self.bit(x, y, "NegClk", k) for k in range(2)}
        if len(negative) > 1:
            raise BitstreamError(f"the two pads of tile ({x}, {y}) use different edges of a clock")
        common = {name: self.input(Wire(x, y, f"io_global:{wire}"), default)
                  for name, wire, default in (("CLOCK_ENABLE", "cen", ONE),
                                              ("INPUT_CLK", "inclk", ZERO),
                                              ("OUTPUT_CLK", "outclk", ZERO))}
        inputs = {port_: self.input(Wire(x, y, f"io_{z}:{wire}"))
                  for port_, wire in (("D_OUT_0", "D_OUT_0"), ("D_OUT_1", "D_OUT_1"),
                                      ("OUTPUT_ENABLE", "OUT_ENB"))}
        self.add("SB_IO", f"{port}_pad",
                 {"PACKAGE_PIN": port, "LATCH_INPUT_VALUE": ZERO, **common, **inputs},
                 {"D_IN_0": f"{port}_in"},
                 {"PIN_TYPE": _bits(kind, 6), "NEG_TRIGGER": _bits(negative == {True}, 1)})

    # ---- What is left

    def note_cells(self) -> None:
        """Note all bits whose function is known although nothing that is used depends on them."""
        for (x, y), bits in self.tiles.items():
            names = self.chip.kind(x, y).bits
            match self.chip.grid[y][x]:
                case 1:
                    for name, cells in names.items():
                        if name.startswith(("LC_", "NegClk", "CarryInSet")):
                            self.know(x, y, cells)
                case 2:
                    self.know(x, y, names["NegClk"])
                    for z in range(2):
                        self.pad_type((x, y, z))
                case 3 | 4:
                    for name, cells in names.items():
                        if name.startswith(("NegClk", "RamConfig")):
                            self.know(x, y, cells)
                case kind if kind:
                    for z in range(8):
                        self.passes(x, y, z)
            if y in dict(COLUMN_BUFFERS).values():
                for k in range(8):
                    self.know(x, y, names[f"ColBufCtrl.glb_netwk_{k}"])
            assert bits.shape == self.known[x, y].shape
        for x, y, z in self.chip.inputs.values():
            for name in (f"IoCtrl.IE_{z}", f"IoCtrl.REN_{z}",
                         f"IoCtrl.cf_bit_{35 if z else 39}"):
                self.bit(x, y, name)
        for block in self.blocks:
            if block.kind == "SB_MAC16":
                self.settings("mac16", block.place, blocks.MAC16_PARAMETERS)
                self.bit(block.place[0], block.place[1] + 2, "NegClk")
            elif block.kind == "SB_SPRAM256KA":
                self.spram_enabled(block)

    def know(self, x: int, y: int, cells: list[tuple[int, int]]) -> None:
        for cell in cells:
            self.known[x, y][cell] = True

    def check_connections(self) -> None:
        """Check that what is routed to blocks arrives at one that is known."""
        known = {wire for block in self.blocks for wires in block.inputs.values()
                 for wire in wires}
        known |= {Wire(x, y, "fabout") for x, y in self.chip.buffers}
        for sink in self.drivers:
            wire = self.chip.names[sink]
            edge = self.chip.grid[wire.y][wire.x] >= 5
            ends = ((edge and wire.name.startswith(("lutff_", "clk")))
                    or wire.name in ("fabout", "io_global:latch"))
            if ends and wire not in known:
                raise BitstreamError(f"{wire} is connected, and belongs to a block of which there "
                                     "is no model")

    def check_bits(self) -> None:
        pads = {bit for _, bit in self.chip.pads}
        for bank, column, row in sorted(self.rest - pads):
            raise BitstreamError(f"bit {column} of row {row} in bank {bank} is set; it belongs to "
                                 "no tile and no known function")
        for (x, y), bits in self.tiles.items():
            unknown = np.argwhere(bits & ~self.known[x, y])
            if unknown.size:
                row, column = map(int, unknown[0])
                name = next((name for name, cells in self.chip.kind(x, y).bits.items()
                             if (row, column) in cells), None)
                what = f"that is {name}, which" if name else "which"
                raise BitstreamError(f"the bit in row {row}, column {column} of tile ({x}, {y}) is "
                                     f"set, {what} is not understood; {len(unknown)} such bits are "
                                     "in this tile")


