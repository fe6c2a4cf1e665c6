"""The engine's RTL compiled to native code: whole operations at millions of cycles a second.

A model of its surroundings in C++ gives it operations, activations and weight words, with pauses or
without, and takes row sums and channels; what they should be is the caller's to know.
"""

import ctypes
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.device import Device
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.shapes import OperationShape
from trilight.hw.engine.engine import Engine
from trilight.hw.interfaces import operation_layout
from trilight.sw.errors import SimulationError
from trilight.sw.model.pack import pack_matrix

from .component import compile_component

__all__ = ["EmbeddingRow", "Figures", "NativeEngine", "Product"]

_WRONG = {
    1: "it did not come to an end",
    2: "the words that it counts are not those that it takes",
    3: "an operation ended before its rows were expected",
    4: "more rows came than there are",
    5: "a row is marked as the last that is none, or the last is not marked",
    6: "a channel came without a look-up",
    7: "a channel is marked as the last that is none, or the last is not marked",
}


@dataclass(frozen=True)
class Product:
    """A matrix times a vector."""

    trits: NDArray[np.int8]
    """int8 [rows, columns]."""
    acts: NDArray[np.int8]
    """int8 [columns]."""
    short: bool | None = None
    """True if its words are short; by default as in the image of a model."""
    sequence: int = 0
    """Sequence, one after the other: a product for another one than that before has its matrix."""


@dataclass(frozen=True)
class EmbeddingRow:
    """A row of a matrix to look up, by the number of the product whose matrix it is."""

    product: int
    token: int
    scale: int


@dataclass(frozen=True)
class Figures:
    """Cycles, and weight words that operations took in them."""

    cycles: int
    words: int


class _Operation(ctypes.Structure):
    _fields_ = (("payload", ctypes.c_uint64), ("rows", ctypes.c_uint32),
                ("columns", ctypes.c_uint32), ("sequence", ctypes.c_uint32),
                ("short", ctypes.c_uint32))


class _Lookup(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint32) for name in (
        "base", "stride", "token", "channels", "scale", "short"))


class NativeEngine:
    """An engine of a device, whatever its sizes.

    Raises
    ------
    BuildError
        It could not be compiled.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self._library = ctypes.CDLL(str(_build(device)))
        self._library.engine_new.restype = ctypes.c_void_p
        handle = self._library.engine_new()
        self._handle = ctypes.c_void_p(handle)
        weakref.finalize(self, self._library.engine_delete, self._handle)

    def shape(self, product: Product) -> OperationShape:
        """Shape of a product's operation."""
        rows, columns = product.trits.shape
        return OperationShape(rows, columns, self.device.packing)

    def run(self, products: Sequence[Product], rows: Sequence[EmbeddingRow] = (), *,
            pauses: float = 0, seed: int = 0) -> tuple[
                list[NDArray[np.int64]], list[NDArray[np.int64]], Figures]:
        """Sums of each product's rows, channels of each row looked up, and what it took.

        Parameters
        ----------
        rows
            Looked up one after the other, while the products are computed.
        pauses
            Chance that whatever surrounds the engine waits in a cycle.
        seed
            Of the pauses.

        Raises
        ------
        SimulationError
            The engine broke a promise besides that of right numbers.
        """
        shapes = [self.shape(product) for product in products]
        short = [shape.short if product.short is None else product.short
                 for product, shape in zip(products, shapes, strict=True)]
        operations = (_Operation * len(products))()
        memory: list[NDArray[np.uint64]] = []
        bases: list[int] = []
        end = 0
        layout = operation_layout(self.device)
        for k, (product, shape) in enumerate(zip(products, shapes, strict=True)):
            again = k > 0 and product.sequence != products[k - 1].sequence and (
                product.trits is products[k - 1].trits)
            trits = self.device.packing.short_trits if short[k] else self.device.trits
            blocks = -(-shape.columns // (trits * self.device.lanes))
            if again:
                bases.append(bases[-1])
            else:
                bases.append(end)
                memory.append(self._words(product.trits, short[k]))
                end += len(memory[-1])
            vector = {"blocks": blocks - 1, "short": short[k], "sequence": product.sequence}
            inner = layout["vector"].shape
            payload = {
                "vector": sum(int(value) << inner[name].offset for name, value in vector.items()),
                "rows": shape.rows - 1, "replay": again, "rewind": k == 0}
            operations[k] = _Operation(
                sum(int(value) << layout[name].offset for name, value in payload.items()),
                shape.rows, shape.columns, product.sequence, short[k])
        lookups = (_Lookup * max(len(rows), 1))(*(_Lookup(
            bases[row.product], shapes[row.product].rows, row.token, shapes[row.product].columns,
            row.scale, short[row.product]) for row in rows))
        words = np.ascontiguousarray(np.concatenate(memory))
        acts = np.concatenate([product.acts for product in products]).astype(np.int8)
        sums = np.zeros(sum(shape.rows for shape in shapes), np.int64)
        channels = np.zeros(sum(shapes[row.product].columns for row in rows), np.int64)
        figures = np.zeros(2, np.uint64)
        maximum = 1000 + 20 * sum(shape.columns + 200 * (shape.blocks + 1) + shape.words
                               for shape in shapes) + 200 * len(channels)
        wrong = self._library.engine_run(
            self._handle, operations, ctypes.c_uint64(len(products)), _pointer(acts),
            _pointer(words), ctypes.c_uint64(len(words)), lookups, ctypes.c_uint64(len(rows)),
            ctypes.c_uint64(2 * seed + 1), ctypes.c_uint32(round(256 * pauses)),
            ctypes.c_uint64(maximum), _pointer(sums), _pointer(channels), _pointer(figures))
        if wrong:
            raise SimulationError(f"the engine of {self.device.name} failed: {_WRONG[wrong]}")
        return (_parts(sums, [shape.rows for shape in shapes]),
                _parts(channels, [shapes[row.product].columns for row in rows]),
                Figures(int(figures[0]), int(figures[1])))

    def _words(self, trits: NDArray[np.int8], short: bool) -> NDArray[np.uint64]:
        """Weight words of a matrix [words, 64-bit parts]."""
        device = self.device
        units = pack_matrix(trits, OperationShape(len(trits), trits.shape[1], device.packing),
                            device.tiles(len(trits)), short=short)
        by_word = units.reshape(-1, device.packing.word_units)
        padded = np.pad(by_word, ((0, 0), (0, -by_word.shape[1] % 4)))
        return padded.astype("<u2").view("<u8")[:, :_chunks(device)]


def _parts(array: NDArray[np.int64], sizes: Sequence[int]) -> list[NDArray[np.int64]]:
    """An array cut into parts of these sizes."""
    return np.split(array, np.cumsum(sizes))[:-1]


def _chunks(device: Device) -> int:
    """64-bit parts of a weight word."""
    return -(-device.packing.word_bits // 64)


def _pointer(array: NDArray[np.generic]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _build(device: Device) -> Path:
    """The shared library of a device's engine."""
    return compile_component(Engine(device=device), "engine.cpp", [
        f"-DWORD_BITS={device.packing.word_bits}", f"-DSUM_BITS={device.acc_bits}",
        f"-DREAD_LATENCY={device.read_latency}", f"-DCHANNEL_BITS={NUMBERS.residual_bits}",
        *(["-DSEQUENCES"] if device.sequences > 1 else [])])
