"""Ports of the part's larger blocks: wires of the tiles around them.

The tables are those of Project IceStorm's documentation of the UltraPlus. The database has them
too, and ``tests/sim/bitstream/test_bitstream.py`` compares both.
"""

from dataclasses import dataclass, field

from .chip import Place, Wire

__all__ = ["MAC16_PARAMETERS", "Block", "connection_tiles", "hfosc", "mac16", "mac16s", "pll",
           "ram", "rams", "spram", "sprams"]


@dataclass(frozen=True)
class Block:
    """A block and its wires."""

    kind: str
    """Verilog cell."""
    place: Place
    """Place in the database."""
    inputs: dict[str, list[Wire]]
    """Wires of each input port, lowest bit first."""
    outputs: dict[str, list[Wire]]
    """Wires of each output port, lowest bit first."""
    ones: set[str] = field(default_factory=set)
    """Inputs that read as 1 when nothing drives them; all others read as 0."""

    @property
    def name(self) -> str:
        """Name of the cell in the netlist."""
        return "_".join((self.kind.lower(), *map(str, self.place)))


def _cells(x: int, y: int, pin: int, first: int = 0, last: int = 7) -> list[Wire]:
    """Input ``pin`` of the places of logic cells ``first`` to ``last`` of a tile."""
    return [Wire(x, y, f"lutff_{cell}:in_{pin}") for cell in range(first, last + 1)]


def _own(x: int, y: int) -> list[Wire]:
    """The eight outputs of a connection tile."""
    return [Wire(x, y, f"slf_op_{k}") for k in range(8)]


def rams() -> list[Block]:
    """All block RAMs."""
    return [ram(x, y) for x in (6, 19) for y in range(1, 31, 2)]


def ram(x: int, y: int) -> Block:
    """The block RAM whose lower tile is (x, y): it reads there, and writes in the tile above."""
    def low_and_high(name: str) -> list[Wire]:
        return [Wire(x, y + 1 if bit < 8 else y, f"ram:{name}_{bit}") for bit in range(16)]

    inputs = {name: [Wire(x, y, f"ram:{name}")] for name in ("RCLK", "RCLKE", "RE")}
    inputs |= {name: [Wire(x, y + 1, f"ram:{name}")] for name in ("WCLK", "WCLKE", "WE")}
    inputs["RADDR"] = [Wire(x, y, f"ram:RADDR_{bit}") for bit in range(11)]
    inputs["WADDR"] = [Wire(x, y + 1, f"ram:WADDR_{bit}") for bit in range(11)]
    inputs |= {name: low_and_high(name) for name in ("MASK", "WDATA")}
    return Block("SB_RAM40_4K", (x, y, 0), inputs, {"RDATA": low_and_high("RDATA")},
                 {"RCLKE", "WCLKE"})


MAC16_PARAMETERS = {
    "C_REG": 1, "A_REG": 1, "B_REG": 1, "D_REG": 1, "TOP_8x8_MULT_REG": 1, "BOT_8x8_MULT_REG": 1,
    "PIPELINE_16x16_MULT_REG1": 1, "PIPELINE_16x16_MULT_REG2": 1, "TOPOUTPUT_SELECT": 2,
    "TOPADDSUB_LOWERINPUT": 2, "TOPADDSUB_UPPERINPUT": 1, "TOPADDSUB_CARRYSELECT": 2,
    "BOTOUTPUT_SELECT": 2, "BOTADDSUB_LOWERINPUT": 2, "BOTADDSUB_UPPERINPUT": 1,
    "BOTADDSUB_CARRYSELECT": 2, "MODE_8x8": 1, "A_SIGNED": 1, "B_SIGNED": 1,
}
"""Bits of each parameter, in the order of CBIT_0 to CBIT_24."""

MAC16_ROWS = (5, 10, 15, 23)
"""Lowest tile of each multiplier in the outer columns."""


def mac16s() -> list[Block]:
    """All multipliers."""
    return [mac16(x, y) for x in (0, 25) for y in MAC16_ROWS]


def mac16(x: int, y: int) -> Block:
    """The multiplier whose lowest tile is (x, y)."""
    operands = {"D": y, "B": y + 1, "A": y + 2, "C": y + 3}
    inputs = {port: _cells(x, row, 3) + _cells(x, row, 1) for port, row in operands.items()}
    inputs |= {f"{port}HOLD": _cells(x, row, 0, 0, 0) for port, row in operands.items()}
    for cell, port in enumerate(("OHOLD", "OLOAD", "ADDSUB"), 1):
        inputs[f"{port}BOT"] = _cells(x, y, 0, cell, cell)
        inputs[f"{port}TOP"] = _cells(x, y + 3, 0, cell, cell)
    inputs["CI"] = _cells(x, y, 0, 4, 4)
    for row, port in enumerate(("IRSTBOT", "IRSTTOP", "ORSTBOT", "ORSTTOP")):
        inputs[port] = [Wire(x, y + row, "lutff_global:s_r")]
    inputs["CLK"] = [Wire(x, y + 2, "lutff_global:clk")]
    inputs["CE"] = [Wire(x, y + 2, "lutff_global:cen")]
    # Cascades go from a multiplier to the next one above in a row of three; the fourth is alone.
    below = {5: 0, 10: 5, 15: 10, 23: 23}[y]
    cascades = {"ACCUMCI": "accumco", "SIGNEXTIN": "signextout"}
    inputs |= {port: [Wire(x, below, f"dsp:{name}")] for port, name in cascades.items()}
    outputs = {"O": [Wire(x, y + bit // 8, f"mult:O_{bit}") for bit in range(32)],
               "CO": [Wire(x, y + 4, "slf_op_0")],
               "ACCUMCO": [Wire(x, y, "dsp:accumco")],
               "SIGNEXTOUT": [Wire(x, y, "dsp:signextout")]}
    return Block("SB_MAC16", (x, y, 0), inputs, outputs, {"CE"})


def sprams() -> list[Block]:
    """All four SPRAMs."""
    return [spram(x, number) for x, number in ((0, 1), (0, 2), (25, 3), (25, 4))]


def spram(x: int, number: int) -> Block:
    """SPRAM ``number``, 1 or 2 on the left or 3 or 4 on the right, around the tiles (x, 1 to 4)."""
    second = number in (2, 4)
    if second:
        address = (_cells(x, 2, 0, 6, 7) + _cells(x, 3, 3) + _cells(x, 3, 1, 0, 3))
        data = _cells(x, 1, 0) + _cells(x, 2, 3)
        mask, clock, outputs = _cells(x, 3, 0, 4, 7), 2, _own(x, 3) + _own(x, 4)
    else:
        address = _cells(x, 2, 1) + _cells(x, 2, 0, 0, 5)
        data = _cells(x, 1, 3) + _cells(x, 1, 1)
        mask, clock, outputs = _cells(x, 3, 0, 0, 3), 1, _own(x, 1) + _own(x, 2)
    inputs = {"ADDRESS": address, "DATAIN": data, "MASKWREN": mask,
              "CLOCK": [Wire(x, clock, "clk")],
              "WREN": _cells(x, 3, 1, 4 + second, 4 + second),
              "CHIPSELECT": _cells(x, 3, 1, 6 + second, 6 + second)}
    for k, port in enumerate(("STANDBY", "SLEEP", "POWEROFF")):
        inputs[port] = _cells(x, 4, 3, 2 * k + second, 2 * k + second)
    return Block("SB_SPRAM256KA", (x, 0, number), inputs, {"DATAOUT": outputs})


def hfosc() -> Block:
    """The oscillator of 48 MHz; its trimming is left out. It also drives global network 4."""
    return Block("SB_HFOSC", (0, 31, 1),
                 {"CLKHFPU": [Wire(0, 29, "lutff_0:in_1")],
                  "CLKHFEN": [Wire(0, 29, "lutff_7:in_3")]},
                 {"CLKHF": [Wire(0, 28, "slf_op_7")]})


def pll() -> Block:
    """The PLL as one with a single output and its pad as reference.

    The output also drives global network 7, and leaves by the wires of its pad's input.
    """
    def signal(x: int) -> list[Wire]:
        return [Wire(x, 31, "fabout")]

    return Block("SB_PLL40_PAD", (12, 31, 3),
                 {"EXTFEEDBACK": signal(11),
                  "DYNAMICDELAY": [signal(x)[0] for x in (1, 2, 3, 4, 5, 7, 8, 9)],
                  "BYPASS": signal(15), "RESETB": signal(16), "SDI": signal(18),
                  "SCLK": signal(17), "LATCHINPUTVALUE": [Wire(24, 31, "io_global:latch")]},
                 {"PLLOUTCORE": [Wire(12, 31, "io_1:D_IN_0")],
                  "LOCK": [Wire(1, 30, "neigh_op_tnl_1")],
                  "SDO": [Wire(24, 30, "neigh_op_tnr_1")]})


def connection_tiles(block: Block) -> set[tuple[int, int]]:
    """Tiles through which a block's inputs come from the fabric."""
    return {(wire.x, wire.y) for wires in block.inputs.values() for wire in wires
            if not wire.name.startswith("dsp:")}
