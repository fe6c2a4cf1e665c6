"""Figures of a build against those recorded: what has got worse, and by how much."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypedDict

import msgspec

from trilight.hw.contract.errors import RegressionError

__all__ = [
    "GUARDED",
    "Comparison",
    "GuardRecord",
    "Guarded",
    "check",
    "compare",
    "load_record",
    "number",
    "record",
]


class GuardRecord(TypedDict):
    """Recorded figures of a build."""

    board: str
    figures: dict[str, float]
    """The guarded ones, by their names."""
    fmax_hz: dict[str, float]
    """Clock that the timing allows, by placement seed."""
    design_sha256: str
    model_sha256: str
    tools: dict[str, str]
    """Versions of the tools that the figures were made with."""


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """A figure that must not get worse."""

    name: str
    unit: str
    read: Callable[[Mapping[str, Any]], float]
    """Function that takes it out of a build's figures, those of a release."""
    tolerance: float
    """Share of the record by which it may be worse."""
    why: str
    """Origin of the tolerance."""
    slack: float = 0.0
    """The same in its own unit, for figures that may be recorded as 0."""
    higher_is_better: bool = False
    of: str = ""
    """Resource that the figure is of; parts without it do not have the figure."""
    needs: str = "clock_hz"
    """Entry that a build's figures have to hold; families whose cells nobody counts lack
    ``activity``."""

    def applies(self, figures: Mapping[str, Any]) -> bool:
        """Tell if a build has this figure."""
        return self.needs in figures and (not self.of or self.of in figures["resources"])


@dataclass(frozen=True)
class Comparison:
    """A guarded figure beside its record."""

    guarded: Guarded
    recorded: float
    found: float

    @property
    def worse(self) -> float:
        """Amount by which it is worse than recorded, in its unit; negative if better."""
        change = self.found - self.recorded
        return -change if self.guarded.higher_is_better else change

    @property
    def allowed(self) -> float:
        """Amount by which it may be worse, in its unit."""
        return self.guarded.tolerance * self.recorded + self.guarded.slack

    @property
    def failed(self) -> bool:
        return self.worse > self.allowed

    @property
    def share(self) -> str:
        """The change as a signed share of the record, for people."""
        if self.found == self.recorded:
            return "same"
        if self.recorded == 0:
            return f"{self.found:+,.4g}"
        return f"{100 * (self.found / self.recorded - 1):+.2f} %"

    def sentence(self) -> str:
        """Sentence that says what is wrong, with numbers."""
        guarded = self.guarded
        unit = f" {guarded.unit}" if guarded.unit else ""
        limit = f"{100 * guarded.tolerance:g} %" if guarded.tolerance or not guarded.slack else (
            f"{guarded.slack:g}{unit}")
        return (f"{guarded.name}: {number(self.found)}{unit}, recorded "
                f"{number(self.recorded)}{unit}: {self.share}, and {limit} is allowed "
                f"({guarded.why})")


def number(value: float) -> str:
    """A figure as people read it."""
    return f"{value:,.0f}" if value == round(value) else f"{value:,.2f}"


def _resource(of: str, name: str, unit: str, tolerance: float, why: str) -> Guarded:
    return Guarded(name=name, unit=unit, of=of, tolerance=tolerance, why=why,
                   read=lambda figures: float(figures["resources"][of]))


def _per_token(name: str) -> Callable[[Mapping[str, Any]], float]:
    """Events of a token; those of a cycle rise when a gap between operations is closed."""
    return lambda figures: round(
        figures["activity"]["busy"][name] * figures["cycles_per_token"])


def _idle(name: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda figures: float(figures["activity"]["idle"][name])


def _fmax(figures: Mapping[str, Any]) -> float:
    return median(figures["fmax_hz"].values()) / 1e6


EXACT = "a count that does not scatter"
SHUFFLED = "synthesis shuffles a few cells with every change"

GUARDED = (
    _resource("lc", "logic cells", "LC", 0.02, SHUFFLED),
    _resource("lut4", "look-up tables", "LUT4", 0.02, SHUFFLED),
    _resource("ebr", "block RAMs", "EBR", 0, EXACT),
    _resource("bsram", "block RAMs", "BSRAM", 0, EXACT),
    _resource("spram", "weight memories", "SPRAM", 0, EXACT),
    _resource("dsp", "multipliers", "DSP", 0, EXACT),
    Guarded(name="clock of the build", unit="MHz",
            read=lambda figures: float(figures["clock_hz"]) / 1e6,
            tolerance=0, higher_is_better=True, why="a choice, not a result"),
    Guarded(name="highest clock, median of seeds", unit="MHz", read=_fmax, tolerance=0.10,
            higher_is_better=True, why="placements of one design differ by as much"),
    Guarded(name="cycles per token", unit="cycles", needs="cycles_per_token",
            read=lambda figures: float(figures["cycles_per_token"]), tolerance=0, why=EXACT),
    Guarded(name="net transitions", unit="per token", needs="activity",
            read=_per_token("net_transitions"),
            tolerance=0.05, why="tokens differ by 1 %, and names of nets decide what is counted"),
    Guarded(name="block RAM accesses", unit="per token", needs="activity",
            read=_per_token("ebr_accesses"),
            tolerance=0.02, why="few enables depend on the data"),
    Guarded(name="SPRAM accesses", unit="per token", needs="activity",
            read=_per_token("spram_accesses"),
            of="spram", tolerance=0.01, why="a row of the embedding is read besides the weights"),
    Guarded(name="multiplications", unit="per token", needs="activity",
            read=_per_token("dsp_ops"),
            tolerance=0.05, why="they depend on the tokens"),
    Guarded(name="net transitions at rest", unit="per cycle", needs="activity",
            read=_idle("net_transitions"),
            tolerance=0.05, slack=1.0, why="a timer or two may run"),
    Guarded(name="block RAM accesses at rest", unit="per cycle", needs="activity",
            read=_idle("ebr_accesses"),
            tolerance=0, slack=0.5, why="reads that nobody waits for"),
)
"""Every guarded figure of any family, with its tolerance."""


def load_record(path: Path) -> GuardRecord:
    """Read what ``record`` made from its file.

    Raises
    ------
    FileNotFoundError
        There is none.
    RegressionError
        The file holds something else.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=GuardRecord)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RegressionError(f"{path} is no record of a build ({error}); renew it with "
                              "trilight guard --update") from error


def compare(figures: Mapping[str, Any], recorded: GuardRecord) -> list[Comparison]:
    """Put each guarded figure of a build beside its record.

    Parameters
    ----------
    figures
        Of the build, as in a release.

    Raises
    ------
    RegressionError
        The record lacks a figure of the build.
    """
    chosen = [guarded for guarded in GUARDED if guarded.applies(figures)]
    if missing := [guarded.name for guarded in chosen if guarded.name not in recorded["figures"]]:
        raise RegressionError(f"the record of {recorded['board']} lacks {', '.join(missing)}; "
                              "renew it with trilight guard --update")
    return [Comparison(guarded, recorded["figures"][guarded.name], guarded.read(figures))
            for guarded in chosen]


def check(comparisons: Sequence[Comparison]) -> None:
    """Raise ``RegressionError`` if a figure is worse than its tolerance allows, naming each."""
    if failed := [comparison.sentence() for comparison in comparisons if comparison.failed]:
        raise RegressionError("the build has become worse:\n  " + "\n  ".join(failed) +
                              "\nIf that is worth it, trilight guard --update records it.")


def record(figures: Mapping[str, Any]) -> GuardRecord:
    """Return what is kept of a build: the guarded figures, and what they were made with."""
    return {
        "board": figures["board"],
        "figures": {guarded.name: guarded.read(figures) for guarded in GUARDED
                    if guarded.applies(figures)},
        "fmax_hz": figures["fmax_hz"],
        "design_sha256": figures["design_sha256"],
        "model_sha256": figures.get("model_sha256", ""),
        "tools": figures["tools"] | figures.get("simulation_tools", {}),
    }
