"""Logic cells by part against what the placer needed."""

from trilight.boards.icebreaker import Icebreaker
from trilight.boards.releases import icebreaker
from trilight.hw.flow.build import build
from trilight.sim.power.area import logic_cells
from trilight.sim.power.blocks import PARTS


def test_parts_add_up_to_what_is_placed() -> None:
    board = Icebreaker()
    built = build(board, seeds=[icebreaker()["seed"]])
    netlist, placed = built.netlist, built.figures["resources"]["lc"]
    cells = logic_cells(netlist)
    assert cells.keys() <= {*PARTS.values()}
    assert 0.95 * placed < sum(cells.values()) <= placed
    # A table, a flip-flop or a carry each: more than any of them, fewer than all of them.
    flip_flops = sum(n for name, n in netlist.cells.items() if name.startswith("SB_DFF"))
    tables, carries = netlist.cells["SB_LUT4"], netlist.cells["SB_CARRY"]
    assert tables < sum(cells.values()) < tables + flip_flops + carries
