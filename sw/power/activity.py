"""Activity of a design in a clock cycle: the counts that the model multiplies by energies."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from trilight.sw.errors import PowerError
from trilight.sw.records import read_record

__all__ = ["COUNTED", "EVENTS", "STOPPED", "Activity"]

MAX_EVENTS = 1e9
"""Maximum of events in a cycle: more than any chip has nets."""


@dataclass(frozen=True, kw_only=True)
class Activity:
    """Events per clock cycle, averaged over a window of a gate-level simulation.

    Raises ``PowerError`` for negative or non-finite counts.
    """

    clock_nets: float
    """Global clock nets that complete a period: 1 for one clock that always runs."""
    ff_clocked: float
    """Flip-flops whose clock net runs, whether or not they are enabled or change."""
    net_transitions: float
    """Value changes (both edges count) of routed nets: outputs of logic cells, flip-flops, block
    RAM, SPRAM and DSP; clock nets and the dedicated carry chain are not routed nets."""
    ebr_accesses: float
    """Block RAM port accesses: enabled reads and enabled writes of 16 bits."""
    spram_accesses: float
    """SPRAM accesses of 16 bits: selected, not in standby."""
    dsp_ops: float
    """8x8 multiplications with a new factor; a 16x16 product is four."""
    io_edges: float
    """Value changes of output pins. Outside the core's boundary; kept for a board-level figure."""
    cycles: int
    """Length of the window in clock cycles."""
    ebr_repeats: float = 0.0
    """Number of ``ebr_accesses`` that read the address that was read last: enabled, but idle."""
    spram_repeats: float = 0.0
    """The same of ``spram_accesses``."""
    counting: str = "gate_zero_delay"
    """Way in which transitions were counted; has to match the coefficient set's counting."""

    def __post_init__(self) -> None:
        for name in EVENTS:
            value = getattr(self, name)
            if not 0 <= value <= MAX_EVENTS:
                raise PowerError(f"activity {name} must be a number of events per cycle, "
                                 f"zero to {MAX_EVENTS:g}, not {value!r}")
        if self.cycles < 1:
            raise PowerError(f"an activity window must be at least one cycle, not {self.cycles}")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Activity":
        """Build an activity from a JSON object; names that are not fields are ignored.

        Raises ``PowerError`` naming fields that are missing or no numbers.
        """
        if not isinstance(data, Mapping):
            raise PowerError(f"an activity is an object, not {type(data).__name__}")
        known = {f.name for f in fields(cls)}
        if missing := known - {"counting", "ebr_repeats", "spram_repeats"} - set(data):
            raise PowerError(f"activity lacks {', '.join(sorted(missing))}; "
                             f"it has {', '.join(sorted(data)) or 'nothing'}")
        return read_record(cls, {name: data[name] for name in known & set(data)}, PowerError,
                           "number of events")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


EVENTS = tuple(f.name for f in fields(Activity) if f.name not in {"cycles", "counting"})

COUNTED = tuple(name for name in EVENTS if name not in {"clock_nets", "ff_clocked"})
"""Events that happen somewhere in the design, rather than in each cycle."""

STOPPED = Activity(clock_nets=0, ff_clocked=0, net_transitions=2, ebr_accesses=0,
                   spram_accesses=0, dsp_ops=0, io_edges=0, cycles=1)
"""Activity of a chip whose clock is stopped, in a cycle of its source: nothing but the source's own
net, up and down, moves."""
