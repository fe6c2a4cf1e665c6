"""Released builds of the installed boards: what they are, and the figures that they ship."""

from importlib.metadata import entry_points
from typing import Any, NotRequired, TypedDict

__all__ = ["RELEASES", "Release", "load_releases", "released_builds"]

BUILDS = "trilight.builds"
"""Entry points group of functions that return figures of builds by board: also of those that are
released without a count of their activity."""

RELEASES = "trilight.releases"
"""Entry points group: each is a function that returns the ``Release`` of one board."""


class ReleaseActivity(TypedDict):
    """``Activity`` of a released netlist, as JSON objects."""

    busy: dict[str, Any]
    """While it generates tokens."""
    idle: dict[str, Any]
    """While it waits for the host."""
    windows: NotRequired[list[dict[str, Any]]]
    """One for each token that ``busy`` is the mean of."""
    breakdown: NotRequired[dict[str, Any]]
    """``busy`` by part, layer and stage: a ``trilight.sw.power.Breakdown``."""


class Release(TypedDict):
    """Figures of a released build, as a board's package ships them."""

    board: str
    design_sha256: str
    """SHA-256 of the RTL."""
    netlist_sha256: str
    bitstream_sha256: str
    build_id: int
    """Build id in the device's identity."""
    seed: NotRequired[int]
    """Seed of the placement."""
    baud: NotRequired[float]
    """Speed of the serial port."""
    clock_hz: float
    clock_source: str
    """Sentence part: how the clock was established."""
    pll: bool
    model_sha256: str
    """SHA-256 of the model that cycles and activity were counted with."""
    cycles_per_token: float
    activity: ReleaseActivity
    sequences: NotRequired[int]
    """Sequences at once while cycles and activity were counted; 1 unless given."""
    tools: dict[str, str]
    module_sha256: NotRequired[str]
    """SHA-256 of its netlist as WebAssembly, if that was compiled too."""


def released_builds() -> dict[str, dict[str, Any]]:
    """Return the figures of every build that is released, by board."""
    return {board: figures for entry in entry_points(group=BUILDS)
            for board, figures in entry.load()().items()}


def load_releases() -> dict[str, Release]:
    """Return the released builds of every installed board, by name."""
    return {entry.name: entry.load()() for entry in entry_points(group=RELEASES)}
