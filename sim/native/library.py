"""Functions of a compiled harness, in native code."""

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trilight.sw.errors import SimulationError

__all__ = ["CORE_FUNCTIONS", "Argument", "Library", "NativeLibrary"]

Argument = int | bytes | NDArray[Any] | None


class Library(Protocol):
    """Functions of a compiled ``harness.cpp``, by name."""

    def call(self, name: str, *arguments: Argument) -> int:
        """Call ``bench_<name>``.

        Parameters
        ----------
        arguments : int, bytes, array or None
            Bytes are read by the function, an array is written by it.

        Returns
        -------
        int
            0 of a function without a result.
        """


_U64, _U32, _I32 = ctypes.c_uint64, ctypes.c_uint32, ctypes.c_int32
_HANDLE = _DATA = ctypes.c_void_p
_FLAG = ctypes.c_int

_Signatures = Mapping[str, tuple[object, list[object]]]

_CORE: _Signatures = {
    "new": (_HANDLE, [_U32, _I32, _I32]),
    "delete": (None, [_HANDLE]),
    "stop": (None, [_HANDLE]),
    "cycles": (_U64, [_HANDLE]),
    "write": (None, [_HANDLE, _DATA, _U64]),
    "read": (_U64, [_HANDLE, _DATA, _U64]),
    "idle": (_FLAG, [_HANDLE]),
    "period": (None, [_HANDLE, _U32]),
    "glitch": (None, [_HANDLE, _U32, _U64, _U64, _FLAG]),
    "run": (None, [_HANDLE, _U64, _U64, _U64]),
    "values": (None, [_HANDLE, _DATA, _U64]),
    "record": (None, [_HANDLE, _U32, _U32]),
    "recorded": (_U64, [_HANDLE, _U32]),
    "take": (None, [_HANDLE, _U32, _DATA]),
}

CORE_FUNCTIONS = tuple(_CORE)
"""Functions that every harness has."""

_SIGNATURES: _Signatures = {
    **_CORE,
    # Of a bench that counts what a probe asks for.
    "probe": (None, [_HANDLE, _FLAG, _DATA, _U32]),
    "stage": (None, [_HANDLE, _U32, _U64]),
    "count": (None, [_HANDLE, _FLAG, _U64, _U64, _U64]),
    "stop_counting": (None, [_HANDLE]),
    "windows": (_U64, [_HANDLE, _DATA]),
    "slots": (_U64, [_HANDLE]),
    "slot": (None, [_HANDLE, _U32, _DATA, _DATA]),
    # Of one that counts cycles of its traces.
    "pulses": (None, [_HANDLE, _DATA, _U64]),
    # Of one with memories that are reached from outside.
    "upset": (None, [_HANDLE, _U32, _U32, _U64]),
    "place": (None, [_HANDLE, _U32, _U32, _DATA, _U64]),
    # Of one that draws waves.
    "waves": (None, [_HANDLE, _DATA]),
    # Of a design with mutants.
    "mutate": (None, [_HANDLE, _U32]),
    "lock": (None, [_HANDLE, _FLAG]),
}


class NativeLibrary:
    """A shared library of this computer.

    Raises
    ------
    SimulationError
        It cannot be loaded.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._library = ctypes.CDLL(str(path))
        except OSError as error:
            raise SimulationError(f"the compiled design {path} cannot be loaded ({error}); remove "
                                  "that folder, or set the environment variable TRILIGHT_CACHE to "
                                  "another cache folder") from error
        for name, (result, arguments) in _SIGNATURES.items():
            # What was not asked for has not been compiled.
            if function := getattr(self._library, f"bench_{name}", None):
                function.restype, function.argtypes = result, arguments

    def call(self, name: str, *arguments: Argument) -> int:
        """Call ``bench_<name>``; see ``Library``."""
        function = getattr(self._library, f"bench_{name}")
        result: int | None = function(*(
            argument.ctypes.data if isinstance(argument, np.ndarray) else argument
            for argument in arguments))
        return result or 0
