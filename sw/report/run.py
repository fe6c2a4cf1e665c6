"""Record of a run, and the released build that it is known to have run on."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from trilight.hw.contract.device import Device
from trilight.hw.support.boards import board_device
from trilight.sw.host.generation import LastRun
from trilight.sw.model.model import Model
from trilight.sw.power import Activity

from .releases import Release

__all__ = ["OTHER_NETLIST", "ReleasedBuild", "Run", "find_build"]

OTHER_NETLIST = "same design, another netlist"
"""``ReleasedBuild.match`` of a netlist that the release's design was made into again."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Result of a run, and what is known of the device that it ran on."""

    model: Model
    target: str
    """Target as the user wrote it, for example ``netlist`` or ``serial:/dev/ttyUSB1``."""
    generation: LastRun
    device: Device = field(default_factory=board_device)
    """Sizes in the device's identity."""
    clock_hz: float = 0
    """Clock in the device's identity; 0 for a device without one."""
    build_id: int | None = None
    """Build id in the device's identity."""
    design_sha256: str | None = None
    netlist_sha256: str | None = None
    bitstream_sha256: str | None = None
    activity: Activity | None = None
    """Counted during this run."""
    tools: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ReleasedBuild:
    """The release that ran, and by what it was recognised."""

    release: Release
    match: str

    @property
    def sequences(self) -> int:
        """Sequences at once while it was counted."""
        return self.release.get("sequences", 1)

    @property
    def batch(self) -> str:
        """The same in words."""
        return (f"{self.sequences} sequences at once" if self.sequences > 1
                else "1 sequence at a time")


def find_build(run: Run, releases: Mapping[str, Release]) -> ReleasedBuild | None:
    """Return the release that ran, or whose model did on a device without a clock."""
    for release in releases.values():
        if match := _match(run, release):
            return ReleasedBuild(release, match)
    return None


def _match(run: Run, release: Release) -> str | None:
    """Say by what the release is known to be what ran; ``None`` if it is not."""
    if run.netlist_sha256 == release["netlist_sha256"]:
        return "same netlist"
    if run.design_sha256 == release["design_sha256"]:
        return OTHER_NETLIST if run.netlist_sha256 else "same design"
    if run.netlist_sha256 or run.design_sha256:
        return None
    if run.clock_hz:
        same = (run.build_id, run.clock_hz) == (release["build_id"], release["clock_hz"])
        return "same build id and clock" if same else None
    return "same model" if run.model.sha256 == release["model_sha256"] else None
