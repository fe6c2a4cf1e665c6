"""Area of the core for imported models on an ECP5: ``python -m trilight.sim.imported.area``.

Yosys synthesises it; nothing is placed, so there is no clock.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

from trilight.hw.contract.device import Device, WeightMemory
from trilight.hw.contract.imported import ImportedDevice
from trilight.hw.flow.build import run_yosys
from trilight.hw.imported.core import ImportedCore
from trilight.hw.support.cache import cached, digest
from trilight.hw.support.terminal import visible
from trilight.sim.bench.build import component_design
from trilight.sw.checkpoint.shape import SHAPES, named_shape
from trilight.sw.plan.cost import TILE_ROWS

__all__ = ["core_area", "main"]

CELLS = ("LUT4", "CCU2C", "TRELLIS_FF", "DP16KD", "MULT18X18D")
PARTS = ("engine", "quantiser", "row_unit")


def core_area(shape: str, lanes: int) -> dict[str, dict[str, int]]:
    """Count the cells of the core for a published shape, weights from outside.

    Returns
    -------
    dict
        Cells by part and kind; ``other`` are the memories of vectors, and multipliers that Yosys
        has shared out; ``all`` is their sum.

    Raises
    ------
    BuildError
        Yosys failed.
    """
    sizes = named_shape(shape)
    device = ImportedDevice(
        engine=Device(name=shape, lanes=lanes, sequences=1, max_columns=sizes.inner,
                      max_rows=max(sizes.vocabulary, 2 * sizes.inner), tile_rows=TILE_ROWS,
                      weight_words=1 << 20, weight_memory=WeightMemory.EXTERNAL),
        max_hidden=sizes.hidden, state_words=sizes.layers * sizes.hidden)
    design = component_design(ImportedCore(device=device))
    script = (f"read_verilog design.v\nsynth_ecp5 -top {design.top} -abc9\n"
              "write_json netlist.json\n")
    key = digest(design.verilog, script)

    def make(work: Path) -> None:
        run_yosys(script, work, key[:16], inputs={"design.v": design.verilog},
                  what="synthesising the core for imported models")

    netlist = json.loads((cached("imported-area", key, make) / "netlist.json").read_text())
    found: dict[str, Counter[str]] = {part: Counter() for part in (*PARTS, "other", "all")}
    for name, cell in netlist["modules"][design.top]["cells"].items():
        part = name.split(".")[0]
        for where in (part if part in PARTS else "other", "all"):
            found[where][cell["type"]] += 1
    return {part: {kind: cells[kind] for kind in CELLS} for part, cells in found.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--shape", default="370M", choices=sorted(SHAPES))
    parser.add_argument("--lanes", type=int, default=8)
    chosen = parser.parse_args()
    area = core_area(chosen.shape, chosen.lanes)
    lines = [f"{'part':10}" + "".join(f"{kind:>12}" for kind in CELLS)]
    lines += [f"{part:10}" + "".join(f"{cells[kind]:>12,}" for kind in CELLS)
              for part, cells in area.items()]
    print(visible("\n".join(lines)))


if __name__ == "__main__":
    main()
