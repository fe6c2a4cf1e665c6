"""Errors of the host side: each derives from ``TrilightError``, so one clause catches them all."""

from trilight.hw.config import CapacityError

__all__ = [
    "DeviceError",
    "LinkError",
    "ModelDoesNotFitError",
    "NoAnswerError",
    "PortBusyError",
    "PowerError",
    "PromptError",
    "TargetError",
    "TrilightError",
    "UnpluggedError",
    "WrongDeviceError",
]


class TrilightError(Exception):
    """Base of the host's errors; the text says what was wrong, what was received, what to try."""


class PowerError(TrilightError):
    """An activity, a coefficient set or an operating point that the power model cannot use."""


class TargetError(TrilightError):
    """A target that does not exist or that misses something on this computer."""


class PromptError(TrilightError):
    """A prompt, length, temperature or seed that cannot be run."""


class ModelDoesNotFitError(TrilightError, CapacityError):
    """A model larger than the device; the text lists every limit that it breaks."""


class LinkError(TrilightError):
    """Bytes do not get through to the device, or not back."""


class PortBusyError(LinkError):
    """Another program holds the port."""


class UnpluggedError(LinkError):
    """The device was there and has gone."""


class NoAnswerError(LinkError):
    """The device does not answer, however often it is asked."""


class DeviceError(TrilightError):
    """The device answers, but refuses, stops early or reports what cannot be."""


class WrongDeviceError(DeviceError):
    """What answers is not a Trilight, or one that speaks another protocol version."""
