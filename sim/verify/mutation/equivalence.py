"""Proofs that a mutant changes nothing: equal outputs and next states for every input and state.

A module is cut at its registers, memories and the modules in it: what they give is an input, and
what they take is an output, which counts only where it is used. A small module is looked at
together with the one around it, which may not use all that it gives. Two modules without state
remain, and Yosys' SAT solver shows that no input tells them apart. The proof is complete, with no
bound on time. Of states that cannot be reached it knows only that a state machine is in one state
(``hw/lib/fsm.py``), which it proves along; a mutant that differs in others has no proof, and stays
a survivor.
"""

import itertools
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trilight.hw.flow.build import run_yosys
from trilight.hw.support.tools import Progress, no_progress

from .mutants import Mutant, Prepared

__all__ = ["PROOF", "prove"]

PROOF = "proof that outputs and next states are equal"

SAT_SECONDS = 20

MAX_LEVELS = 4
"""Levels of the hierarchy; what is below is looked at with what is around it."""

DESIGN, LOG = "prepared.il", "equivalence"

GOLD, GATE = "gold", "gate"
"""The module without and with the fault."""

MACHINES = "hw/lib/fsm.py"
"""Sources of the registers of state machines that have a bit for each state."""

BITWISE = frozenset({"$dff", "$mux", "$and", "$or", "$xor", "$xnor", "$not", "$pos"})
"""Cells whose output bits depend on the bits of their place alone, and on those of one bit."""

Json = dict[str, Any]


def prove(prepared: Prepared, mutants: Sequence[Mutant],
          progress: Progress = no_progress) -> Iterator[Mutant]:
    """Return the mutants that are proved to change nothing.

    Raises
    ------
    BuildError
        Yosys failed.
    """
    if not mutants:
        return
    with TemporaryDirectory() as name:
        work = Path(name)
        # A path of one's own is all that Yosys sees of a folder for temporary files.
        shutil.copy(prepared.rtlil, work / DESIGN)
        run_yosys(_write_script(mutants), work, LOG, progress=progress, what="writing survivors")
        for number, mutant in enumerate(mutants):
            paths = {which: work / f"{which}{number}.json" for which in (GOLD, GATE)}
            designs = {which: json.loads(path.read_text())["modules"][_unit(mutant)]
                       for which, path in paths.items()}
            used = _used(designs[GOLD]) | _used(designs[GATE])
            for which, path in paths.items():
                path.write_text(json.dumps(_cut(designs[which], which, used)))
        run_yosys("\n".join(_proof(number) for number in range(len(mutants))), work, LOG,
                  progress=progress, what="proving survivors equivalent")
        log = (work / "yosys.log").read_text()
    for section in re.split(r"^mutant (?=\d+:$)", log, flags=re.MULTILINE)[1:]:
        place, _, text = section.partition(":")
        if "no model found: SUCCESS!" in text:
            yield mutants[int(place)]


def _unit(mutant: Mutant) -> str:
    """The module that is cut: the mutant's, or the one around it."""
    return ".".join(mutant.module.split(".")[:MAX_LEVELS])


def _write_script(mutants: Sequence[Mutant]) -> str:
    lines = [f"read_rtlil {DESIGN}", "design -save base"]
    for number, mutant in enumerate(mutants):
        for which, change in ((GOLD, ""), (GATE, f"mutate {mutant.mutation}")):
            # Enables and resets of registers become logic, in which a fault of theirs stays.
            unit = _unit(mutant)
            lines += ["design -load base", change,
                      *([f"flatten {unit}"] if unit != mutant.module else []),
                      f"select {unit}", "dffunmap", f"write_json -selected {which}{number}.json",
                      "select -clear"]
    return "\n".join(lines)


def _proof(number: int) -> str:
    return "\n".join([
        "design -reset",
        f"log mutant {number}:",
        f"read_json gold{number}.json",
        f"read_json gate{number}.json",
        "setundef -zero gold gate",
        "miter -equiv -flatten gold gate miter",
        # What is the same in both becomes one.
        "opt miter",
        f"sat -timeout {SAT_SECONDS} -prove trigger 0 miter"])


def _is_state(cell: Json) -> bool:
    kind = cell["type"]
    return kind.startswith(("$dff", "$adff", "$mem")) or not kind.startswith("$")


def _used(found: Json) -> set[tuple[str, int]]:
    """Registers' bits, by cell and place, that an output or another module depends on."""
    needs: dict[int, set[int]] = {}
    open_bits = {bit for port in found["ports"].values() if port["direction"] != "input"
                 for bit in port["bits"]}
    for cell in found["cells"].values():
        taken = {port: bits for port, bits in cell["connections"].items()
                 if cell["port_directions"][port] != "output"}
        given = cell["connections"].get("Q" if _is_state(cell) else "Y", [])
        if not given or cell["type"].startswith("$mem"):
            open_bits.update(bit for bits in taken.values() for bit in bits)
            continue
        for place, bit in enumerate(given):
            each = cell["type"] in BITWISE and all(
                len(bits) in (1, len(given)) for bits in taken.values())
            needs.setdefault(bit, set()).update(
                needed for bits in taken.values()
                for needed in ([bits[place % len(bits)]] if each else bits))
    used: set[int] = set()
    while open_bits:
        used |= open_bits
        open_bits = {bit for one in open_bits for bit in needs.get(one, ())} - used
    return {(name, place) for name, cell in found["cells"].items()
            for place, bit in enumerate(cell["connections"].get("Q", [])) if bit in used}


def _cut(found: Json, name: str, used: set[tuple[str, int]]) -> Json:
    """The module as ``GOLD`` or ``GATE``, with everything that has a state taken out."""
    # A pad's wire is cut like any other that comes from outside.
    ports = {port: {"direction": "output" if fields["direction"] == "output" else "input",
                    "bits": fields["bits"]} for port, fields in found["ports"].items()}
    cells: Json = {}
    bits = [bit for cell in found["cells"].values() for port in cell["connections"].values()
            for bit in port if isinstance(bit, int)]
    fresh = max([*bits, *(bit for port in ports.values() for bit in port["bits"]
                          if isinstance(bit, int))], default=1) + 1
    for cell_name, cell in sorted(found["cells"].items()):
        if not _is_state(cell):
            cells[cell_name] = cell
            continue
        taken = dict(cell["connections"])
        for port, enable in _gates(cell, taken).items():
            width = len(taken[port])
            masked = list(range(fresh, fresh + width))
            fresh += width
            cells[f"{cell_name}.{port}.used"] = _cell("$and", (taken[port], enable), masked)
            taken[port] = masked
        if "Q" in taken:
            # A bit of a register that nothing reads may be anything.
            places = [place for place in range(len(taken["Q"])) if (cell_name, place) in used]
            taken |= {port: [taken[port][place] for place in places] for port in "DQ"}
        for port, connection in taken.items():
            gives = cell["port_directions"][port] == "output"
            ports[f"{cell_name}.{port}"] = {"direction": "input" if gives else "output",
                                            "bits": connection}
    machines = [net["bits"] for net_name, net in found["netnames"].items()
                if net_name.rpartition(".")[2].startswith("fsm_state")
                and net["attributes"].get("src", "").startswith(MACHINES)]
    if machines:
        _restrict(ports, cells, fresh, machines, found["cells"], name == GOLD)
    return {"modules": {name: {"attributes": {}, "ports": ports, "cells": cells,
                               "netnames": {}}}}


def _restrict(ports: Json, cells: Json, fresh: int, machines: Sequence[list[Any]],
              registers: Json, proves: bool) -> None:
    """Let outputs count only in states in which each machine has one bit set.

    That it stays so is proved of the design without the fault, by one more output that must be 0.
    """
    made = itertools.count(fresh)

    def add(kind: str, *inputs: list[Any], width: int = 1) -> list[Any]:
        output = [next(made) for _ in range(width)]
        cells[f"legal.{output[0]}"] = _cell(kind, inputs, output)
        return output

    def legal(states: Iterable[list[Any]]) -> list[Any]:
        each = [add("$reduce_or", [
            bit for k in range(len(state))
            for bit in add("$eq", state, ["1" if place == k else "0"
                                          for place in range(len(state))])]) for state in states]
        return add("$reduce_and", [bit for one in each for bit in one])

    now = legal(machines)
    for port in ports.values():
        if port["direction"] == "output" and port["bits"]:
            width = len(port["bits"])
            port["bits"] = add("$and", port["bits"], now * width, width=width)
    following = [next(cell["connections"]["D"] for cell in registers.values()
                      if cell["connections"].get("Q") == state) for state in machines]
    leaves = add("$and", now, add("$not", legal(following)))
    ports["leaves"] = {"direction": "output", "bits": leaves if proves else ["0"]}


def _gates(cell: Json, connections: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Inputs of a memory that count only while it is enabled, and by which bits."""
    enable = connections.get("EN")
    if cell["type"] == "$memrd_v2":
        assert enable is not None
        return {"ADDR": enable * len(connections["ADDR"])}
    if cell["type"] == "$memwr_v2":
        assert enable is not None
        return {"DATA": enable}
    return {}


def _cell(kind: str, inputs: Sequence[list[Any]], output: list[Any]) -> Json:
    ports = dict(zip("AB", inputs, strict=False)) | {"Y": output}
    parameters = {f"{port}_WIDTH": f"{len(bits):032b}" for port, bits in ports.items()}
    parameters |= {f"{port}_SIGNED": "0" * 32 for port in ports if port != "Y"}
    return {"type": kind, "attributes": {}, "parameters": parameters,
            "port_directions": {port: "output" if port == "Y" else "input" for port in ports},
            "connections": ports}
