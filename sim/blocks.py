"""Which part of the chip each cell of its netlist belongs to.

Flattening leaves a cell the path of its block in its name, where Yosys took the name from inside
the block. Names of signals between blocks say nothing of that kind: such a cell goes with the cells
that feed it.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

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
    "chip.core.sequencer": "sequencer",
    "chip.core.program": "sequencer",
    "chip.core.tape": "sequencer",
    "chip.link": "link",
    "rx": "link",
    "tx": "link",
    "pll": "reset",
    "clock_buffer": "reset",
    "locked": "reset",
}
"""Parts by the path of a block; the longest path that matches counts."""

CONTAINERS = {"": "reset", "chip": "link", "chip.core": "sequencer"}
"""Blocks that consist of others, and the part of what is left between those."""


def _part_of(name: str, signals: Collection[str]) -> str | None:
    """Part by a cell's name; ``None`` for a cell between blocks.

    Raises ``SimulationError`` for a block that is in no part.
    """
    # Amaranth numbers signals that share a name.
    path = [re.sub(r"\$\d+$", "", component) for component in name.split(".")]
    for length in range(len(path), 0, -1):
        if part := PARTS.get(".".join(path[:length])):
            return part
    container = 0
    while ".".join(path[:container + 1]) in CONTAINERS:
        container += 1
    block = ".".join(name.split(".")[:container + 1])
    # A point may also stand between a signal, or a member of a port, and its field.
    is_signal = block in signals or "__" in path[min(container, len(path) - 1)]
    if len(path) > container + 1 and not is_signal and not block.startswith("$"):
        raise SimulationError(f"block {block!r} belongs to no part of the chip; "
                              "name its part in sim/blocks.py")
    return None


def assign_parts(fan_in: Mapping[str, Iterable[str]], signals: Collection[str],
                 ) -> dict[str, str]:
    """Parts of a netlist's cells by name.

    Parameters
    ----------
    fan_in : mapping
        For each cell the cells that drive its inputs.
    signals : collection of str
        Names of the netlist's signals.

    Raises
    ------
    SimulationError
        A block is in no part.
    """
    parts = {cell: part for cell in fan_in if (part := _part_of(cell, signals)) is not None}
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
        path = cell.split(".")
        parts[cell] = next(CONTAINERS[head] for n in range(len(path), -1, -1)
                           if (head := ".".join(path[:n])) in CONTAINERS)
    return parts
