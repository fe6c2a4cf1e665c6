"""Functional coverage: what the benches must have shown to a design, and what they have.

A bench calls ``cover`` with what it sends, takes or computes. Each bin that is hit for the first
time is written down at once, so that nothing depends on how the simulation ends. A bin that is not
declared here is an error, so that no name goes astray.

Not of a library: those compare a sample with every bin, which tables of 256 entries make slow.
"""

import json
import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TextIO

from trilight.hw.contract.imported import Kind
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.program import Op
from trilight.hw.contract.protocol import Command, Region, Result, Slip
from trilight.hw.interfaces import run_flags

from .device import DEVICE

__all__ = ["DAMAGE", "POINTS", "TURNS", "VARIABLE", "Pace", "cover", "cover_flags", "ends", "hits",
           "missing", "temperature_bin", "write_coverage"]

VARIABLE = "TRILIGHT_COVERAGE"
"""Environment variable with the file that a bench notes its bins in."""

BENCH = "COCOTB_TEST_MODULES"
"""Environment variable in which cocotb finds the module of the bench."""

ENDS = ("least", "greatest")
SATURATED = ("low", "high")
PACES = ("back to back", "after a pause")
STALLS = ("producer waits", "consumer waits", *PACES)
TABLE = range(256)
SEQUENCES = range(DEVICE.sequences)
TURNS = ("one alone", "two at once")
TEMPERATURES = ("0", "between", "greatest")
SEEDS = ("0", "other")

_REFUSALS = {
    Result.BAD_LENGTH: tuple(Command),
    Result.BAD_ADDRESS: (Command.WRITE, Command.READ),
    Result.BUSY: (Command.WRITE, Command.READ, Command.RUN),
}
READABLE = (Region.WEIGHTS, Region.TAPE, Region.WEIGHT_CRC)
FLAGS = [f"{flag.name} {state}" for flag in run_flags(DEVICE) for state in ("set", "clear")]
OPERATIONS = [f"{op.name} {words}" for op in (Op.MIX, Op.RESIDUAL, Op.GLU, Op.HEAD)
              for words in ("short", "long")]


def _streams(component: str, stalls: Iterable[str], *names: str) -> dict[str, Iterable[object]]:
    return {f"{component}.stream {name}": tuple(stalls) for name in names}


DAMAGE = ("bit", "lost byte", "noise", "stop bit", "escape", "too long")
"""Kinds of damage to a frame on its way."""

_DECLARED: dict[str, Iterable[object]] = {
    # Link, by its pins
    "link.command": [command.name for command in Command],
    "link.refusal": ["BAD_COMMAND", *(f"{result.name} {command.name}"
                                      for result, commands in _REFUSALS.items()
                                      for command in commands)],
    "link.written": [space.name for space in Region],
    "link.read": [space.name for space in READABLE],
    "link.flag": FLAGS,
    "link.repeated RUN": ("acknowledged",),
    "link.damage": DAMAGE,
    "link.escaped": [f"{Slip(byte).name} {way}" for byte in (Slip.END, Slip.ESC)
                     for way in ("received", "sent")],
    "link.event": SEQUENCES,
    "link.baud": ("slower", "nominal", "faster"),
    **_streams("link", ("after a pause",), "run.request"),
    **_streams("link", ("producer waits", "after a pause"), *(f"events.{k}" for k in SEQUENCES)),
    # Engine
    "engine.activation": ENDS,
    "engine.sum": ENDS,
    "engine.weights": ("all -1", "all 0", "all +1"),
    "engine.words": ("short", "long"),
    "engine.rows": ENDS,
    "engine.columns": ENDS,
    "engine.sequence": SEQUENCES,
    "engine.turns": TURNS,
    "engine.embed scale": ENDS,
    "engine.interrupted": ("by a look-up",),
    # Between two operations there is the reading of the first one's words.
    **_streams("engine", ("producer waits", "consumer waits", "after a pause"), "operations.ops"),
    **_streams("engine", PACES, "acts.acts", "rows", "channels"),
    # Vector unit
    **{f"vector.{name}": TABLE for name in ("sigmoid entry", "silu entry")},
    **{f"vector.saturated {name}": SATURATED
       for name in ("forget index", "candidate index", "gate index", "glu gate index", "glu up",
                    "residual", "logit", "q", "x_prev", "u", "v")},
    **{f"vector.-128 becomes -127 in {name}": ("seen",) for name in ("q", "x_prev", "u", "v")},
    **{f"vector.{name}": ENDS for name in ("sum", "scale", "state", "tap_now", "tap_prev",
                                           "forget_bias", "head_bias")},
    "vector.operation": [op.name for op in Op],
    "vector.context": ("zero_state", "replay", "discard", "first", "embedding"),
    "vector.sequence": SEQUENCES,
    "vector.sum of magnitudes": ("0", "more"),
    **_streams("vector", PACES, "rows", "channels", "acts.acts", "logits.logits"),
    # Norm
    "norm.scale": ENDS,
    "norm.sum": ("0", *ENDS),
    "norm.quotient": ("passed on", "divided", "saturated"),
    # Sampler
    "sampler.temperature": TEMPERATURES,
    "sampler.seed": SEEDS,
    "sampler.logit": ENDS,
    "sampler.noise": ENDS,
    "sampler.noise entry": TABLE,
    "sampler.tie": ("seen",),
    "sampler.vocabulary": ENDS,
    "sampler.sequence": SEQUENCES,
    **_streams("sampler", PACES, "logits.logits"),
    # Core
    "core.flag": FLAGS,
    "core.run": ("prompt only", "generates", "stopped", *TURNS),
    "core.operation": OPERATIONS,
    "core.temperature": TEMPERATURES,
    "core.seed": SEEDS,
    "core.event": SEQUENCES,
    "core.tape": ("wraps", "read while running"),
    "core.check": ("complete", "not complete"),
    **_streams("core", ("producer waits", "after a pause"), "run.request"),
    **_streams("core", STALLS[:2], *(f"events.{k}" for k in SEQUENCES)),
    # Chip, RTL and netlist
    "chip.command": [command.name for command in (Command.IDENTIFY, Command.WRITE, Command.READ,
                                                  Command.RUN, Command.STATUS)],
    "chip.flag": FLAGS,
    "chip.temperature": TEMPERATURES[:2],
    "chip.event": SEQUENCES,
    "chip.run": TURNS,
    # Vector unit of imported models
    **{f"imported_{block}.kind": [kind.name for kind in Kind]
       for block in ("norm", "quantiser", "rows")},
    **{f"imported_norm.{name}": ENDS for name in ("columns", "peak", "largest", "total")},
    "imported_norm.epsilon": ("none", "some", "greatest"),
    "imported_quantiser.vector": ("zeros", "others"),
    "imported_quantiser.code": ENDS,
    **_streams("imported_quantiser", PACES, "parameters", "acts.acts"),
    **{f"imported_rows.saturated {name}": SATURATED for name in ("argument", "residual", "logit")},
    **{f"imported_rows.{name}": ENDS for name in ("sum", "bound")},
    **_streams("imported_rows", PACES, "rows"),
}

POINTS: Mapping[str, frozenset[str]] = {
    name: frozenset(map(str, bins)) for name, bins in _DECLARED.items()}
"""Bins by point. What stands before the first dot is the bench that has to hit them."""


@cache
def _file() -> TextIO | None:
    """File that bins are noted in; ``None`` if nobody asked for them."""
    path = os.environ.get(VARIABLE)
    return open(path, "a", buffering=1, encoding="utf-8") if path else None


_seen: set[tuple[str, str]] = set()


def cover(point: str, *bins: object) -> None:
    """Note that bins of a point have been hit.

    Parameters
    ----------
    point : str
        Of ``POINTS``.
    bins : object
        Their names, or numbers.
    """
    for one in bins:
        key = (point, str(one))
        if key in _seen:
            continue
        assert key[1] in POINTS[point], f"coverage point {point!r} has no bin {key[1]!r}"
        _seen.add(key)
        if (file := _file()) is not None:
            file.write("\t".join(key) + "\n")


def temperature_bin(temperature: int) -> str:
    """Bin of a temperature, fixed point."""
    greatest = (1 << NUMBERS.temperature_bits) - 1
    return "0" if not temperature else "greatest" if temperature == greatest else "between"


def cover_flags(point: str, flags: int) -> None:
    """Note which flags of a RUN are set and which are not."""
    cover(point, *(f"{flag.name} {'set' if flags & flag else 'clear'}"
                   for flag in run_flags(DEVICE)))


class Pace:
    """Notes whether the transfers of a stream come back to back or after pauses.

    Parameters
    ----------
    stream : str
        Its port; its point is ``"BENCH.stream STREAM"``, with dots for double underscores.
    """

    def __init__(self, stream: str) -> None:
        bench = os.environ.get(BENCH, "").rpartition(".")[2]
        self._point = f"{bench}.stream {stream.replace('__', '.')}"
        self._last: int | None = None

    def producer_waits(self) -> None:
        """There is a payload, and nobody takes it."""
        self._cover(STALLS[0])

    def consumer_waits(self) -> None:
        """One would be taken, and there is none."""
        self._cover(STALLS[1])

    def transfer(self, cycle: int) -> None:
        """One is taken in this cycle."""
        if self._last is not None:
            self._cover(PACES[cycle > self._last + 1])
        self._last = cycle

    def _cover(self, one: str) -> None:
        # Of many streams not everything can be seen, and of most of a core's nothing is asked.
        if one in POINTS.get(self._point, ()):
            cover(self._point, one)


def ends(point: str, values: Iterable[int], minimum: int, greatest: int) -> None:
    """Note which ends of their range some values reach."""
    values = [int(value) for value in values]
    if values:
        cover(point, *(["least"] * (min(values) == minimum)
                       + ["greatest"] * (max(values) == greatest)))


def hits(files: Iterable[Path]) -> dict[str, set[str]]:
    """Bins that were hit in some runs of benches, by point."""
    found: dict[str, set[str]] = {}
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
            point, one = line.split("\t")
            found.setdefault(point, set()).add(one)
    return found


def missing(found: Mapping[str, Iterable[str]], benches: Iterable[str]) -> list[str]:
    """Name every bin that these benches have to hit and have not."""
    wanted = set(benches)
    return [f"{point}: {one}" for point, bins in POINTS.items() if point.split(".")[0] in wanted
            for one in sorted(bins - set(found.get(point, ())))]


def write_coverage(found: Mapping[str, Iterable[str]], benches: Iterable[str],
                   path: Path) -> tuple[int, int]:
    """Write what was hit and what was not as JSON; return the bins hit and the bins in all."""
    wanted = set(benches)
    points = {point: {"bins": sorted(bins), "missing": sorted(bins - set(found.get(point, ())))}
              for point, bins in POINTS.items() if point.split(".")[0] in wanted}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"benches": sorted(wanted), "points": points}, indent=1) + "\n",
                    encoding="utf-8")
    total = sum(len(point["bins"]) for point in points.values())
    return total - sum(len(point["missing"]) for point in points.values()), total
