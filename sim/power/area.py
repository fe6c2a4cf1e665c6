"""Logic cells of each part of the chip, from its netlist."""

import json
from collections import Counter, defaultdict
from typing import Any

from trilight.hw.flow.build import Netlist
from trilight.hw.flow.ice40 import ICE40
from trilight.hw.support.tools import Progress

from .blocks import assign_parts

__all__ = ["logic_cells", "release_area"]


def logic_cells(netlist: Netlist) -> dict[str, int]:
    """Logic cells by part, as a placer packs them, largest first.

    A cell of an iCE40 has a look-up table, the carry of its two middle inputs and a flip-flop. A
    flip-flop shares the cell of the table that alone feeds it, and a carry that of the table with
    its inputs; every other one takes a cell. nextpnr needs some percent more, where control sets
    and chains do not come out even.
    """
    cells: dict[str, Any] = json.loads(netlist.json.read_text())["modules"][
        netlist.board.top]["cells"]
    driver: dict[int, str] = {}
    loads: Counter[int] = Counter()
    for name, cell in cells.items():
        for port, bits in cell["connections"].items():
            for bit in bits:
                if not isinstance(bit, int):
                    continue  # a constant
                if cell["port_directions"][port] == "output":
                    driver[bit] = name
                else:
                    loads[bit] += 1
    fan_in = {name: [driver[bit] for port, bits in cell["connections"].items()
                     if cell["port_directions"][port] == "input"
                     for bit in bits if bit in driver]
              for name, cell in cells.items()}
    parts = assign_parts(fan_in, netlist.blocks)

    def is_table(name: str | None) -> bool:
        return name is not None and cells[name]["type"] == "SB_LUT4"

    carried = defaultdict(list)
    for cell in cells.values():
        if cell["type"] == "SB_LUT4":
            pins = cell["connections"]
            carried[tuple(pins["I3"])].append((pins["I1"], pins["I2"]))
    counts: Counter[str] = Counter()
    for name, cell in cells.items():
        pins = cell["connections"]
        match cell["type"]:
            case "SB_LUT4":
                alone = True
            case "SB_CARRY":
                alone = (pins["I0"], pins["I1"]) not in carried[tuple(pins["CI"])]
            case kind if kind.startswith("SB_DFF"):
                [data] = pins["D"]
                alone = not (is_table(driver.get(data)) and loads[data] == 1)
            case _:
                alone = False
        counts[parts[name]] += alone
    return {part: count for part, count in counts.most_common() if count}


def release_area(netlist: Netlist, _progress: Progress) -> dict[str, Any]:
    """Return a release's area; parts of the chip are told apart in cells of an iCE40."""
    return {"logic_cells": logic_cells(netlist)} if netlist.board.toolchain is ICE40 else {}
