"""This computer."""

import platform
from pathlib import Path

__all__ = ["host_processor"]


def host_processor() -> str:
    """Name of this computer's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
