"""Parts of the chip, and the cells of its netlist that belong to each.

Flattening leaves a cell the path of its block in its name, where Yosys took the name from inside
the block. Names of signals between blocks say nothing of that kind: such a cell goes with the cells
that feed it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from trilight.sw.errors import SimulationError

__all__ = ["PARTS", "assign_parts"]

PARTS = {
    "chip.core.weights": "weight_memory",
    "chip.core.engine.tables": "tables",
    "chip.core.engine.rom": "tables",
    "chip.core.engine.embedding": "embedding",
    "chip.core.engine": "row_sums",
    "chip.core.vector": "vector_unit",
    "chip.core.sampler": "sampler",
    "chip.core.biases": "sampler",
    "chip.core.sequencer": "sequencer",
    "chip.core.program": "sequencer",
    "chip.core.tape": "sequencer",
    "chip.link": "link",
    "flash": "link",
    "slot": "link",
    "rx": "link",
    "tx": "link",
    "locked": "reset",
    "clock_buffer": "reset",
    "pll": "reset",
    "pins": "reset",
}
"""Parts by the path of a block; the longest path that matches counts."""

CONTAINERS = {"": "reset", "chip": "link", "chip.core": "sequencer"}
"""Blocks that consist of others, and the part of what is left between those."""


def _path(name: str) -> list[str]:
    # Amaranth numbers what shares a name.
    return [re.sub(r"\$\d+$", "", component) for component in name.split(".")]


def _part_of(name: str) -> str | None:
    """Part by the name of a cell or block; ``None`` for what lies between blocks."""
    path = _path(name)
    paths = (".".join(path[:length]) for length in range(len(path), 0, -1))
    return next((PARTS[path] for path in paths if path in PARTS), None)


def assign_parts(fan_in: Mapping[str, Iterable[str]], blocks: Iterable[str]) -> dict[str, str]:
    """Parts of a netlist's cells by name.

    Parameters
    ----------
    fan_in
        For each cell the cells that drive its inputs.
    blocks
        Paths of all blocks of the design.

    Raises
    ------
    SimulationError
        A block is in no part.
    """
    for block in blocks:
        if _part_of(block) is None and ".".join(_path(block)) not in CONTAINERS:
            raise SimulationError(f"block {block!r} belongs to no part of the chip; name its part "
                                  "in sim/power/blocks.py")
    parts = {cell: part for cell in fan_in if (part := _part_of(cell)) is not None}
    undecided = [cell for cell in fan_in if cell not in parts]
    while undecided:
        # All at once, so that the order of the cells does not matter.
        votes = {cell: Counter(parts[source] for source in fan_in[cell] if source in parts)
                 for cell in undecided}
        decided = {cell: min(count, key=lambda part: (-count[part], part))
                   for cell, count in votes.items() if count}
        if not decided:
            break
        parts |= decided
        undecided = [cell for cell in undecided if cell not in parts]
    for cell in undecided:
        path = _path(cell)
        parts[cell] = next(CONTAINERS[head] for n in range(len(path), -1, -1)
                           if (head := ".".join(path[:n])) in CONTAINERS)
    return parts
