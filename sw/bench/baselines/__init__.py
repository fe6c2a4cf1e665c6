"""The same model by other means on this computer, to stand beside a device.

Each module holds a ``Baseline``; ``baseline_names`` lists those that can be asked for. A baseline
generates tokens with the sampler of the device, so that exact arithmetic gives exact text.
"""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol

from trilight.hw.support.extras import pip_install
from trilight.sw.errors import BenchError
from trilight.sw.model.model import Model

from ..runner import Generator

__all__ = ["Baseline", "BaselineInfo", "baseline_names", "host_processor", "open_baseline"]


def host_processor() -> str:
    """Name of this computer's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


@dataclass(frozen=True, kw_only=True)
class BaselineInfo:
    """Description of a baseline before it runs."""

    name: str
    arithmetic: str
    software: Mapping[str, str]
    """Versions, by name."""
    device: str = field(default_factory=lambda: f"{host_processor()}, one core")
    boundary: Literal["host", "gpu"] = "host"
    """Boundary of a meter of its energy."""
    meter: str = "rapl"
    """The meter that is tried for it, as ``--meter`` writes it."""
    model_bytes: int | None = None
    """Bytes of weights, taps and tables in the form that it computes with."""
    working_bytes: int | None = None
    """Bytes of state and work space, where it has them in one piece."""


class Baseline(Generator, Protocol):
    """A generator that tells what it is."""

    @property
    def info(self) -> BaselineInfo:
        """Description of the baseline."""
        ...


_CLASSES = {"numpy": ("reference", "ReferenceBaseline"), "numba": ("compiled", "CompiledBaseline"),
            "c": ("exported", "ExportedBaseline"), "torch": ("floating", "FloatBaseline"),
            "cuda": ("floating", "CudaBaseline")}


def baseline_names() -> tuple[str, ...]:
    """Names of the baselines."""
    return tuple(_CLASSES)


def open_baseline(name: str, model: Model) -> Baseline:
    """Prepare a baseline: compile, move weights; the first token costs no more than the next.

    Raises
    ------
    BenchError
        No such baseline, or it misses a package or a device.
    """
    if name not in _CLASSES:
        raise BenchError(f"no baseline {name!r}; there are {', '.join(_CLASSES)}")
    module_name, kind = _CLASSES[name]
    try:
        module = import_module(f".{module_name}", __name__)
    except ImportError as error:
        raise BenchError(f"baseline {name} needs a package that is not installed: {error}; "
                         + pip_install("trilight[baselines]")) from error
    factory: Callable[[Model], Baseline] = getattr(module, kind)
    return factory(model)
