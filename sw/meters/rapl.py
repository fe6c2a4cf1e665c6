"""Energy counters of the host's processor: RAPL, as Linux shows it under ``powercap``."""

from pathlib import Path

from trilight.sw.errors import MeterError

from .base import Meter, MeterOptions
from .files import read_text
from .polling import EnergyCounter

__all__ = ["RaplMeter", "rapl_meter"]

ROOT = Path("/sys/class/powercap")


class _Counter:
    """One counter, which starts again at its range."""

    def __init__(self, folder: Path) -> None:
        self.name = read_text(folder / "name")
        self._path = folder / "energy_uj"
        self._range_uj = int(read_text(folder / "max_energy_range_uj"))
        self._last_uj: int | None = None
        self._total_uj = 0

    def joules(self) -> float:
        """Energy since the first call."""
        try:
            now = int(read_text(self._path))
        except PermissionError as error:
            raise MeterError(
                f"{self._path} may be read by root only, since it leaks secrets of other programs "
                f"(CVE-2020-8694); allow it until the next start with: sudo chmod a+r {self._path}"
            ) from error
        if self._last_uj is not None:
            step = now - self._last_uj
            # The counter counts from 0 to its range, both included.
            self._total_uj += step if step >= 0 else step + self._range_uj + 1
        self._last_uj = now
        return self._total_uj * 1e-6


class RaplMeter(EnergyCounter):
    """Energy of the processor packages, or of one domain.

    Parameters
    ----------
    options
        Domain as argument: ``package`` (default, all sockets), ``psys`` (the whole platform, where
        there is one); setting ``rate`` in Hz.
    root
        Folder of the counters.
    """

    kind = "rapl"
    gain_limit = 0.05
    """Assumed: the makers state no limit. Comparisons with wall meters found RAPL of processors
    since 2013 to follow within a few percent."""
    accuracy = "assumed: 5 % of the reading; the maker states none"

    def __init__(self, options: MeterOptions, root: Path = ROOT) -> None:
        options.only("rate")
        super().__init__(options, "host", 10.0)
        wanted = options.argument or "package"
        folders = [folder for folder in sorted(root.glob("intel-rapl:*"))
                   if folder.name.count(":") == 1 and (folder / "name").is_file()]
        chosen = [folder for folder in folders if read_text(folder / "name").startswith(wanted)]
        if not chosen:
            there = ", ".join(read_text(folder / "name") for folder in folders) or "none"
            raise MeterError(f"no RAPL counter {wanted!r} under {root}; there are: {there}. "
                             "Virtual machines and processors other than x86 have none")
        self._counters = [_Counter(folder) for folder in chosen]
        self.serial = ", ".join(counter.name for counter in self._counters)

    def read(self) -> tuple[float]:
        return (sum(counter.joules() for counter in self._counters),)


def rapl_meter(options: MeterOptions) -> Meter:
    """Meter ``rapl[:DOMAIN]``."""
    return RaplMeter(options)
