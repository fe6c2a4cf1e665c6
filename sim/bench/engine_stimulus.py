"""Operations to try an engine with: weights as they lie in memory, activations, results."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.trits import TritCode
from trilight.hw.engine.timing import EngineTiming
from trilight.hw.interfaces import operation_layout
from trilight.sw.model.trits import pack_trits

from .device import DEVICE

__all__ = [
    "ENTRIES",
    "OP_LAYOUT",
    "SHORT_ENTRIES",
    "TIMING",
    "EngineOperation",
    "Weights",
    "Word",
    "random_acts",
    "random_weights",
    "token",
]

OP_LAYOUT = operation_layout(DEVICE)

TIMING = EngineTiming(DEVICE)

ENTRIES = DEVICE.packing.code.entries

SHORT_ENTRIES = TritCode(DEVICE.packing.short_trits).entries


@dataclass(frozen=True)
class Weights:
    """A ternary matrix [rows, columns] as it lies in memory."""

    trits: NDArray[np.int8]
    short: bool

    @property
    def rows(self) -> int:
        return len(self.trits)

    @property
    def columns(self) -> int:
        return int(self.trits.shape[1])

    @property
    def digits(self) -> int:
        """Trits of a byte."""
        return DEVICE.packing.short_trits if self.short else DEVICE.trits

    @property
    def blocks(self) -> int:
        return -(-self.columns // (self.digits * DEVICE.lanes))

    def words(self) -> NDArray[np.uint64]:
        """Block after block of columns, all rows of a block in order."""
        block = self.digits * DEVICE.lanes
        padded = np.pad(self.trits, ((0, 0), (0, self.blocks * block - self.columns)))
        by_block = padded.reshape(self.rows, self.blocks, block).swapaxes(0, 1)
        return pack_trits(by_block.reshape(-1, self.digits)).reshape(
            -1, DEVICE.lanes).view("<u8").ravel()

    def cycles(self) -> int:
        """Cycles of a pass whose first table has filled before."""
        entries = SHORT_ENTRIES if self.short else ENTRIES
        return self.blocks * max(self.rows, entries + TIMING.fill + 1)


@dataclass(frozen=True)
class EngineOperation:
    """A matrix, the activations that it multiplies, and how it is announced."""

    weights: Weights
    acts: NDArray[np.int64]
    sequence: int
    replay: bool
    rewind: bool

    def results(self) -> list[tuple[int, int]]:
        """Sum of each row, and whether it is the last."""
        sums = self.weights.trits.astype(np.int64) @ self.acts
        return [(int(total), int(row == len(sums) - 1)) for row, total in enumerate(sums)]

    def payload(self) -> dict[str, int]:
        vector = {"blocks": self.weights.blocks - 1, "short": self.weights.short,
                  "sequence": self.sequence}
        offsets = OP_LAYOUT["vector"].shape
        return {"vector": sum(value << offsets[name].offset for name, value in vector.items()),
                "rows": self.weights.rows - 1, "replay": self.replay, "rewind": self.rewind}


@dataclass(frozen=True)
class Word:
    """A weight word that an operation must read."""

    address: int
    opens: bool
    """The first of a block, which may wait."""
    finishes: bool
    """A row is finished by it."""
    ends: bool
    """True for the operation's last word."""


def random_weights(rng: np.random.Generator, rows: int, columns: int, short: bool) -> Weights:
    """Any weights, often all of one sign."""
    trits = rng.integers(-1, 2, (rows, columns), np.int8)
    kind = rng.random()
    if kind < 0.3:
        trits[:] = rng.choice([-1, 0, 1])
    elif kind < 0.5:
        trits[:] = rng.choice([-1, 1], (rows, 1))
    return Weights(trits, short)


def random_acts(rng: np.random.Generator, columns: int) -> NDArray[np.int64]:
    """Any activations, often all at one end of their range."""
    maximum = NUMBERS.act_max
    kind = rng.random()
    if kind < 0.3:
        return np.full(columns, rng.choice([-maximum, maximum]))
    if kind < 0.5:
        return rng.choice([-maximum, maximum], columns)
    return rng.integers(-maximum, maximum, columns, endpoint=True)


def token(rng: np.random.Generator, matrices: list[Weights],
          sequences: Iterable[int]) -> Iterator[EngineOperation]:
    """Operations of a token of each of some sequences, the last of them for some only."""
    active = list(sequences)
    for number, weights in enumerate(matrices):
        if number == len(matrices) - 1 and number:
            active = [sequence for sequence in active if rng.random() < 0.7]
        for turn, sequence in enumerate(active):
            yield EngineOperation(weights, random_acts(rng, weights.columns), sequence,
                            replay=turn > 0, rewind=number == 0 and turn == 0)
