"""Errors of the host side: each derives from ``TrilightError``, so one clause catches them all."""

from collections.abc import Iterable

from trilight.hw.contract.errors import (
    BoardError,
    BuildError,
    CacheError,
    CapacityError,
    RegressionError,
    TimingError,
    TrilightError,
)

__all__ = [
    "BenchError",
    "BitstreamError",
    "BoardError",
    "BuildError",
    "CacheError",
    "CalibrationError",
    "CapacityError",
    "ChainError",
    "CheckpointError",
    "ClusterError",
    "CorpusError",
    "DesignError",
    "DeviceError",
    "EvaluationError",
    "ExploreError",
    "ExportError",
    "FaultsError",
    "ImageError",
    "ImpactError",
    "LinkError",
    "MeterError",
    "MeterLostError",
    "MissingPackageError",
    "ModelDoesNotFitError",
    "ModelError",
    "ModelFileError",
    "NoResponseError",
    "PerformanceError",
    "PlanError",
    "PortBusyError",
    "PowerError",
    "PromptError",
    "RegressionError",
    "ReportError",
    "SimulationError",
    "TargetError",
    "TimingError",
    "TokenError",
    "TrainingError",
    "TrilightError",
    "UnknownCharacterError",
    "UnpluggedError",
    "WeightsChangedError",
    "WrongDeviceError",
    "WrongTokenError",
]


class PowerError(TrilightError):
    """An activity, a coefficient set or an operating point that the power model cannot use."""


class MeterError(TrilightError):
    """A meter that cannot be read, or readings that no measurement can be made from."""


class MeterLostError(MeterError):
    """The meter was there and has gone."""


class CalibrationError(TrilightError):
    """A calibration that cannot start, go on or be fitted."""


class TargetError(TrilightError):
    """A target that does not exist or that misses something on this computer."""


class PromptError(TrilightError):
    """A prompt, length, temperature or seed that cannot be run."""


class ModelDoesNotFitError(CapacityError):
    """A model larger than the device; the text lists every limit that it breaks."""


class LinkError(TrilightError):
    """Bytes do not get through to the device, or not back."""


class PortBusyError(LinkError):
    """Another program holds the port."""


class UnpluggedError(LinkError):
    """The device was there and has gone."""


class NoResponseError(LinkError):
    """The device does not answer, however often it is asked."""


class DeviceError(TrilightError):
    """The device answers, but refuses, stops early or reports what cannot be."""


class WeightsChangedError(DeviceError):
    """The device holds other weights than were written; what it generated since it was last asked
    may be wrong."""


class WrongDeviceError(DeviceError):
    """No Trilight answers, or one that speaks another protocol version."""


class WrongTokenError(TrilightError):
    """A token that has been given out is another one when it is generated again."""


class ModelError(TrilightError, ValueError):
    """Parts of a model that do not agree or leave their number formats."""


class ModelFileError(TrilightError):
    """A model file that is missing, damaged, of another version or illegal."""


class ImageError(TrilightError):
    """A model image that is damaged, of another version or illegal."""


class TokenError(TrilightError, ValueError):
    """A token that the model's vocabulary does not have."""


class UnknownCharacterError(TrilightError, ValueError):
    """A text with characters that the model's vocabulary lacks.

    Attributes
    ----------
    characters : tuple of str
        The unknown characters, each once, in order of first appearance.
    """

    def __init__(self, characters: Iterable[str]) -> None:
        self.characters = tuple(dict.fromkeys(characters))
        shown = ", ".join(repr(character) for character in self.characters[:20])
        more = f" and {len(self.characters) - 20} more" if len(self.characters) > 20 else ""
        super().__init__(f"the model's vocabulary lacks {shown}{more}; "
                         "leave these characters out or replace them")


class DesignError(TrilightError):
    """A search for a model that asks for what there is not, or whose results cannot be kept."""


class EvaluationError(TrilightError, ValueError):
    """A text or protocol that the quality of a model cannot be measured with."""


class ExploreError(TrilightError):
    """A sweep that describes no designs, or whose results cannot be kept."""


class ExportError(TrilightError):
    """A model that cannot be written in another form."""


class FaultsError(TrilightError):
    """A campaign of faults that cannot start, or whose results cannot be kept."""


class ImpactError(TrilightError):
    """An account of use that rests on what is not known, or cannot be."""


class PerformanceError(TrilightError):
    """Cycles of something that no device does."""


class PlanError(TrilightError):
    """Boards, sizes or a split that nothing can be planned with."""


class ReportError(TrilightError):
    """Figures that make no report, or a report that cannot be read."""


class BenchError(TrilightError):
    """A workload, baseline or setting that cannot be benchmarked."""


class SimulationError(TrilightError):
    """A design that cannot be compiled to native code, or a virtual board used after its end."""


class BitstreamError(SimulationError):
    """A bitstream that is damaged, for another part, or that configures what is not understood."""


class CorpusError(TrilightError):
    """A text that no model can be trained on."""


class TrainingError(TrilightError):
    """A training run that cannot start or cannot go on."""


class ChainError(TrilightError):
    """Boards that share a model cannot go on: one is dead, silent, or of another model."""


class ClusterError(TrilightError):
    """Workers that cannot be reached, or must not be trusted."""


class CheckpointError(TrilightError):
    """A checkpoint that is missing, damaged, of another version or of another run."""


class MissingPackageError(TrilightError):
    """A command that needs an optional package."""
