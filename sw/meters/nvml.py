"""Energy counter of an NVIDIA GPU, through the maker's package nvidia-ml-py."""

from typing import Any

from trilight.sw.errors import MeterError

from .base import Meter, MeterOptions
from .polling import EnergyCounter

__all__ = ["NvmlMeter", "nvml_meter"]


class NvmlMeter(EnergyCounter):
    """Energy of one GPU since its driver was loaded, by differences.

    The sensors of some GPUs look at a part of the time only (A100 and H100: 25 %, arXiv
    2312.02741), so that windows have to be long and repeated.

    Parameters
    ----------
    options
        Number of the GPU as argument (default 0); setting ``rate`` in Hz.
    nvml
        The module ``pynvml``.
    """

    gain_limit = 0.05
    """Limit of the error by NVIDIA's documentation of NVML, for the power of recent GPUs."""
    accuracy = "5 % of the reading, as the maker states"

    def __init__(self, options: MeterOptions, nvml: Any) -> None:
        options.only("rate")
        super().__init__(options, "gpu", 10.0)
        if not (options.argument or "0").isdecimal():
            raise MeterError(f"nvml needs the number of a GPU, as in nvml:0, "
                             f"not {options.argument!r}")
        self._nvml = nvml
        index = int(options.argument or "0")
        try:
            nvml.nvmlInit()
            self._gpu = nvml.nvmlDeviceGetHandleByIndex(index)
            self._gpu_name = str(nvml.nvmlDeviceGetName(self._gpu))
            self.kind = f"nvml {self._gpu_name}"
            self.serial = str(nvml.nvmlDeviceGetUUID(self._gpu))
        except nvml.NVMLError as error:
            raise MeterError(f"GPU {index} cannot be read: {error}; nvidia-smi should list it"
                             ) from error

    def read(self) -> tuple[float]:
        try:
            return (self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._gpu) * 1e-3,)
        except self._nvml.NVMLError as error:
            raise MeterError(f"{self._gpu_name} gives no energy: {error}; there is a counter "
                             "since the generation Volta") from error


def nvml_meter(options: MeterOptions) -> Meter:
    """Meter ``nvml[:GPU]``."""
    import pynvml

    return NvmlMeter(options, pynvml)
