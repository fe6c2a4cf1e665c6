"""The same model by other means on this computer, to stand beside a device.

Each module holds a ``Baseline``; ``baseline_names`` lists those that can be asked for. A baseline
generates tokens with the sampler of the device, so that exact arithmetic gives exact text.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Literal, Protocol

from trilight.hw.support.extras import pip_install
from trilight.sw.errors import BenchError
from trilight.sw.model.model import Model

__all__ = ["Baseline", "BaselineInfo", "baseline_names", "open_baseline"]


@dataclass(frozen=True, kw_only=True)
class BaselineInfo:
    """Description of a baseline before it runs."""

    name: str
    arithmetic: str
    device: str
    boundary: Literal["host", "gpu"]
    """Boundary of a meter of its energy."""
    meter: str
    """The meter that is tried for it, as ``--meter`` writes it."""
    software: Mapping[str, str]
    """Versions, by name."""


class Baseline(Protocol):
    """Generator of a model's tokens on this computer."""

    @property
    def info(self) -> BaselineInfo:
        """Description of the baseline."""
        ...

    def generate(self, prompt: Sequence[int], *, tokens: int, temperature: float,
                 seed: int) -> list[int]:
        """Return ``tokens`` tokens after a prompt of one or more, from a clean state."""
        ...


_MODULES = {"numpy": "reference", "numba": "compiled", "c": "exported", "torch": "floating",
            "cuda": "floating"}


def baseline_names() -> tuple[str, ...]:
    """Names of the baselines."""
    return tuple(_MODULES)


def open_baseline(name: str, model: Model) -> Baseline:
    """Prepare a baseline: compile, move weights; the first token costs no more than the next.

    Raises
    ------
    BenchError
        No such baseline, or it misses a package or a device.
    """
    if name not in _MODULES:
        raise BenchError(f"no baseline {name!r}; there are {', '.join(_MODULES)}")
    try:
        module = import_module(f".{_MODULES[name]}", __name__)
    except ImportError as error:
        raise BenchError(f"baseline {name} needs a package that is not installed: {error}; "
                         + pip_install("trilight[baselines]")) from error
    factory: Callable[[Model, str], Baseline] = module.open_baseline
    return factory(model, name)
