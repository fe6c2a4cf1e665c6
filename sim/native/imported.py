"""The core for imported models compiled to native code: whole tokens, and every value in them."""

import ctypes
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from amaranth.hdl import Shape
from numpy.typing import NDArray

from trilight.hw.contract.imported import FORMATS, ImportedDevice
from trilight.hw.imported.core import ImportedCore
from trilight.hw.imported.layouts import result_layout
from trilight.sw.checkpoint.image import CoreImage
from trilight.sw.errors import SimulationError

from .component import compile_component

__all__ = ["CoreToken", "NativeImportedCore", "probe_bits"]

_WRONG = {
    1: "it did not come to an end",
    2: "it asked for more weight words than there are",
    3: "it read single weight words",
    4: "it did not take all parameters",
    5: "it did not take all weight words",
}


def probe_bits(device: ImportedDevice) -> dict[str, int]:
    """Widths of the values that the core shows, by name; all but ``multiplier`` are signed."""
    formats = FORMATS
    return {"code": 8, "sum": device.engine.acc_bits,
            "multiplier": 1 + Shape.cast(result_layout()).width, "argument": formats.z_bits,
            "gate": formats.z_bits, "result": formats.value_bits,
            "residual": formats.residual_bits, "logit": formats.logit_bits}


@dataclass(frozen=True, eq=False)
class CoreToken:
    """Values and counters of a token."""

    values: dict[str, NDArray[np.int64]]
    """Values by probe, in order."""
    cycles: int
    """Cycles, counted by the core."""
    words: int
    """Weight words, counted by the core."""
    best: int
    """Row of the largest logit."""
    saturations: int
    """Saturations since the state was zero."""


@cache
def _build(device: ImportedDevice) -> Path:
    """The compiled core; elaborating it takes seconds, however often it was compiled."""
    probes = probe_bits(device)
    return compile_component(ImportedCore(device=device), "imported.cpp", [
        f"-DWORD_BITS={device.engine.packing.word_bits}",
        f"-DRESIDUAL_BITS={FORMATS.residual_bits}",
        "-DPROBES=" + " ".join(f"PROBE({name},{bits})" for name, bits in probes.items())])


class NativeImportedCore:
    """A core of a device, whatever its sizes.

    Raises
    ------
    BuildError
        It could not be compiled.
    """

    def __init__(self, device: ImportedDevice) -> None:
        self.device = device
        self._library = ctypes.CDLL(str(_build(device)))
        self._library.imported_new.restype = ctypes.c_void_p
        self._image: CoreImage | None = None
        self._padded = np.zeros((0, 8), np.uint8)
        self._handle = ctypes.c_void_p(self._library.imported_new())
        weakref.finalize(self, self._library.imported_delete, self._handle)

    def _words(self, image: CoreImage) -> NDArray[np.uint8]:
        """Weight words, each as 64-bit parts; those of the last image are kept."""
        if self._image is not image:
            self._image = image
            self._padded = np.ascontiguousarray(
                np.pad(image.words, ((0, 0), (0, -image.words.shape[1] % 8))))
        return self._padded

    def token(self, image: CoreImage, embedding: NDArray[np.int64], counts: Mapping[str, int], *,
              zero_state: bool, pauses: float = 0, seed: int = 0) -> CoreToken:
        """Run a token.

        Parameters
        ----------
        embedding : int64 array [channels]
            The residual stream before the first layer.
        counts
            Values of each probe in a token.
        zero_state
            The token is the first of its sequence.
        pauses
            Chance that a stream waits in a cycle.
        seed
            Of the pauses.

        Raises
        ------
        SimulationError
            The core broke a promise besides that of right numbers.
        """
        names = list(probe_bits(self.device))
        values = [np.zeros(counts[name], np.int64) for name in names]
        pointers = (ctypes.c_void_p * len(names))(*(array.ctypes.data for array in values))
        capacities = np.array([counts[name] for name in names], np.uint64)
        found, figures = np.zeros(len(names), np.uint64), np.zeros(4, np.uint64)
        shape = np.array([image.shape & (1 << 64) - 1, image.shape >> 64], np.uint64)
        stream = np.ascontiguousarray(embedding, np.int64)
        words = self._words(image)
        maximum = 20_000 + 20 * (len(image.words) + 4 * len(image.parameters))
        wrong = self._library.imported_token(
            self._handle, _pointer(shape), ctypes.c_uint32(zero_state), _pointer(stream),
            ctypes.c_uint64(len(stream)), _pointer(image.parameters),
            ctypes.c_uint64(len(image.parameters)), _pointer(words),
            ctypes.c_uint64(len(image.words)), ctypes.c_uint64(2 * seed + 1),
            ctypes.c_uint32(round(256 * pauses)), ctypes.c_uint64(maximum), pointers,
            _pointer(capacities), _pointer(found), _pointer(figures))
        if wrong:
            what = _WRONG.get(wrong) or f"more values of {names[wrong - 10]} came than there are"
            raise SimulationError(f"the core of {self.device.engine.name} failed: {what}")
        return CoreToken(
            {name: array[:int(count)] for name, array, count in zip(
                names, values, found, strict=True)},
            *(int(figure) for figure in figures))


def _pointer(array: NDArray[np.generic]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
