"""Cycles of a run, without running it: which stage takes how many, and why.

Figures of the steady state of a ``Schedule``.
"""

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from trilight.hw.contract.device import Device
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.memory.timing import OutsideTiming
from trilight.sw.errors import PerformanceError

from .schedule import Schedule, SequenceRequest, Stage, program

__all__ = ["Performance", "predict"]


@dataclass(frozen=True, kw_only=True)
class Performance:
    """Cycles of a model on the engine once it generates steadily."""

    model: ModelConfig
    device: Device
    sequences: int
    stages: tuple[Stage, ...]
    """Stages of a token of each sequence."""
    prompt_cycles_per_token: float
    """Cycles of a token that is fed without a head."""
    violations: list[str] = field(default_factory=list)
    """Limits of the device that the model breaks."""

    @property
    def cycles_per_token(self) -> float:
        return sum(stage.cycles for stage in self.stages) / self.sequences

    @property
    def words_per_token(self) -> int:
        return sum(stage.words for stage in self.stages) // self.sequences

    @property
    def weights_per_token(self) -> int:
        return sum(stage.weights for stage in self.stages) // self.sequences

    @property
    def limits(self) -> dict[str, float]:
        """Cycles of a token that each part needs by itself; the longest binds."""
        limits = {
            "engine": sum(stage.words for stage in self.stages) / self.sequences,
            "rows": sum(stage.rows for stage in self.stages) / self.sequences,
        }
        if self.device.streamed:
            words = sum(stage.outside for stage in self.stages) / self.sequences
            limits["memory outside"] = words * OutsideTiming(self.device).word
        return limits

    @property
    def binds(self) -> str:
        """The part that takes longest; ``latency`` if none has half of the cycles."""
        what, cycles = max(self.limits.items(), key=lambda item: item[1])
        return what if cycles >= self.cycles_per_token / 2 else "latency"

    @property
    def outside_use(self) -> float:
        """Share of the memory's usable bandwidth that is used; 0 without such a memory."""
        return self.limits.get("memory outside", 0.0) / self.cycles_per_token

    @property
    def utilisation(self) -> float:
        """Ternary weights used per lane and cycle; padding counts as waste."""
        return self.weights_per_token / (self.device.packing.block * self.cycles_per_token)

    @property
    def roofline_cycles(self) -> float:
        """Cycles of a token if the memory never waited and no word had padding."""
        return self.weights_per_token / self.device.packing.block

    @property
    def gaps(self) -> dict[str, float]:
        """Cycles of a token in which no word is used, by reason, longest first."""
        total: Counter[str] = Counter()
        for stage in self.stages:
            total.update(stage.gaps)
        return {what: cycles / self.sequences for what, cycles in total.most_common()}

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "model": self.model.to_dict(),
            "sequences": self.sequences,
            "cycles_per_token": self.cycles_per_token,
            "prompt_cycles_per_token": self.prompt_cycles_per_token,
            "words_per_token": self.words_per_token,
            "weights_per_token": self.weights_per_token,
            "utilisation": self.utilisation,
            "roofline_cycles": self.roofline_cycles,
            "gaps": self.gaps,
            "limits": self.limits,
            "binds": self.binds,
            "outside_use": self.outside_use,
            "stages": [{"name": stage.name, "sequence": stage.sequence, "cycles": stage.cycles,
                        "words": stage.words, "weights": stage.weights, "gaps": stage.gaps}
                       for stage in self.stages],
            "memory": {
                "weight_words": self.model.weight_words(self.device.packing),
                "program_words": self.model.program_words,
                "channels": self.model.d_model * self.model.n_layers,
            },
            "violations": self.violations,
        }


STEADY_TOKENS = 4
"""Tokens after which a run repeats itself."""


def _period(schedule: Schedule) -> float:
    """Cycles of a token of each sequence, between the last two of sequence 0."""
    ends = [end for sequence, end in schedule.tokens if sequence == 0]
    return float(ends[-2] - ends[-3])


def predict(model: ModelConfig, *, sequences: int = 1, device: Device) -> Performance:
    """Compute the cycles of a model, whether or not it fits.

    Parameters
    ----------
    model : ModelConfig
    sequences : int
        Sequences that are generated at once.
    device : Device

    Raises
    ------
    PerformanceError
        The device can not work on so many sequences.
    """
    if not 1 <= sequences <= device.sequences:
        raise PerformanceError(f"{device.name} generates 1 to {device.sequences} sequences at "
                               f"once, not {sequences}")
    run = Schedule(model, [SequenceRequest(1, STEADY_TOKENS)] * sequences, device)
    prompt = Schedule(model, [SequenceRequest(STEADY_TOKENS)] * sequences, device)
    token = len(program(model, device.packing)) * sequences
    stages = run.stages[-2 * token:-token]
    # Every cycle between the last words of two tokens belongs to a stage.
    assert sum(stage.cycles for stage in stages) == run.ends[-token - 1] - run.ends[-2 * token - 1]
    assert all(a <= b for a, b in pairwise(run.ends))
    return Performance(
        model=model, device=device, sequences=sequences, stages=tuple(stages),
        prompt_cycles_per_token=_period(prompt) / sequences, violations=model.violations(device))
