"""Cost of a flipped bit: change of the loss on a text, by the integer reference."""

import random
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.shapes import OperationShape
from trilight.hw.contract.trits import FILE_CODE
from trilight.hw.support.boards import board_device
from trilight.sw.errors import FaultsError, ModelError
from trilight.sw.model.model import MATRICES, Layer, Matrix, Model
from trilight.sw.quality.evaluate import log_softmax
from trilight.sw.reference import model as reference
from trilight.sw.reference.model import ReferenceModel
from trilight.sw.reference.tables import SIGMOID, SILU

__all__ = ["KINDS", "Losses", "plot", "summarise"]

KINDS = ("weight", "multiplier", "tap", "forget bias", "output bias", "sigmoid", "silu",
         "state h", "state x_prev")

STREAMS = 16
ATTEMPTS = 100

Flipped = tuple[Model, AbstractContextManager[Any]]
"""A model with a flipped bit, and what must be entered while it runs."""


class Losses:
    """Losses of a model on a text, with one flipped bit at a time.

    Parameters
    ----------
    text
        All of the model's vocabulary; its end is used.
    characters
        How many are scored, a multiple of ``STREAMS``.

    Raises
    ------
    FaultsError
        The text is too short.
    UnknownCharacterError
        The vocabulary lacks a character of it.
    """

    def __init__(self, model: Model, text: str, characters: int) -> None:
        self._steps = characters // STREAMS
        needed = STREAMS * (self._steps + 1)
        if self._steps < 2 or len(text) < needed:
            raise FaultsError(f"a text must have at least {needed} characters to score "
                              f"{characters}, at least {2 * STREAMS}; not {len(text)}")
        self._model = model
        self._tokens = np.array(model.encode(text[-needed:])).reshape(STREAMS, -1)
        self._plain = self._nats(model)
        self.nats = float(self._plain.mean())
        """Nats per character without a fault."""
        # The matrix of the embedding is the head's too, so it lies in memory once.
        self._matrices = [(None, "embedding", model.embedding)] + [
            (number, name, matrix.trits) for number, layer in enumerate(model.layers)
            for name, matrix in layer.matrices.items()]

    def _nats(self, model: Model, at: int = -1,
              change: Callable[[ReferenceModel], None] | None = None) -> NDArray[np.float64]:
        """Losses [streams, steps]; ``change`` is called before step ``at``."""
        running = ReferenceModel(model, STREAMS)
        rows = np.arange(STREAMS)
        nats = np.empty((STREAMS, self._steps))
        with threadpool_limits(1, "blas"):
            for step in range(self._steps):
                if step == at and change:
                    change(running)
                logits = running.step(self._tokens[:, step])
                nats[:, step] = -log_softmax(logits)[rows, self._tokens[:, step + 1]]
        return nats

    def changes(self, kind: str, seed: int, number: int) -> list[float]:
        """Change of the loss by a flipped bit, in nats per character.

        Parameters
        ----------
        kind
            Of ``KINDS``.

        Returns
        -------
        list of float
            One; of a state's bits, one for each stream, each with a bit of its own.
        """
        rng = random.Random(f"{seed}:{kind}:{number}")
        if kind.startswith("state"):
            name, bits = ("h", NUMBERS.gate_bits) if kind == "state h" else (
                "x_prev", NUMBERS.prev_bits)
            at = rng.randrange(1, self._steps // 2)
            nats = self._nats(self._model, at, partial(_flip_states, name, bits, rng))
            return [float(change) for change
                    in (nats[:, at:] - self._plain[:, at:]).mean(axis=1)]
        for _ in range(ATTEMPTS):
            try:
                model, context = self._flipped(kind, rng)
            except ModelError:
                continue  # beyond what the reference takes, such as a multiplier of 0
            with context:
                return [float((self._nats(model) - self._plain).mean())]
        raise FaultsError(f"no bit of a {kind} can be flipped")

    def _flipped(self, kind: str, rng: random.Random) -> Flipped:
        model = self._model
        layers = list(model.layers)
        n = rng.randrange(len(layers))
        layer = layers[n]
        match kind:
            case "weight":
                return self._flipped_weight(rng), nullcontext()
            case "multiplier":
                name = rng.choice(MATRICES)
                matrix = getattr(layer, name)
                bit = 1 << rng.randrange(NUMBERS.scale_bits)
                layers[n] = _with(layer, name, Matrix(matrix.trits, matrix.scale ^ bit))
            case "tap":
                name = rng.choice(("tap_now", "tap_prev"))
                layers[n] = _with(layer, name, _flip_one(
                    getattr(layer, name), NUMBERS.tap_bits, rng))
            case "forget bias":
                layers[n] = _with(layer, "forget_bias", _flip_one(
                    layer.forget_bias, NUMBERS.index_bits, rng))
            case "output bias":
                return replace(model, head_bias=_flip_one(
                    model.head_bias, NUMBERS.logit_bits, rng)), nullcontext()
            case "sigmoid" | "silu":
                # The chip keeps the upper half, and derives the other one from it.
                table = SIGMOID if kind == "sigmoid" else SILU
                half = len(table) // 2
                upper = table[half:].copy()
                signed = kind == "silu"
                i = rng.randrange(half)
                upper[i] = _flip(int(upper[i]), rng.randrange(NUMBERS.gate_bits),
                                 NUMBERS.gate_bits, signed=signed)
                index = np.arange(half)
                lower = (upper - (16 * index + 8) if signed
                         else (1 << NUMBERS.forget_bits) - 1 - upper)[::-1]
                return model, mock.patch.object(reference, kind.upper(),
                                                np.concatenate([lower, upper]))
        return replace(model, layers=tuple(layers)), nullcontext()

    def _flipped_weight(self, rng: random.Random) -> Model:
        """Flip a bit of a byte of weights: it stands for five trits, or for four."""
        model = self._model
        [(number, name, trits)] = rng.choices(
            self._matrices, [matrix.size for _, _, matrix in self._matrices])
        rows = {"forget": 3, "candidate": 3, "gate": 3, "glu_gate": 2, "glu_up": 2}.get(name, 1)
        packing = board_device().packing
        size = OperationShape(rows * len(trits), trits.shape[1], packing).trits
        row, start = rng.randrange(len(trits)), size * rng.randrange(-(-trits.shape[1] // size))
        group = trits[row, start:start + size].tolist()
        group += [0] * (packing.trits - len(group))
        code = FILE_CODE.to_code[tuple(group)] ^ 1 << rng.randrange(8)
        # A code that stands for no trits makes the chip read what nobody has written there.
        changed = trits.copy()
        width = min(size, trits.shape[1] - start)
        changed[row, start:start + width] = FILE_CODE.to_trits.get(
            code, (0,) * packing.trits)[:width]
        if number is None:
            return replace(model, embedding=changed)
        layer = model.layers[number]
        layer = _with(layer, name, Matrix(changed, getattr(layer, name).scale))
        return replace(model, layers=tuple(
            layer if k == number else other for k, other in enumerate(model.layers)))


def _with(layer: Layer, name: str, value: Any) -> Layer:
    changes: dict[str, Any] = {name: value}
    return replace(layer, **changes)


def _flip(value: int, bit: int, bits: int, *, signed: bool = True) -> int:
    """A number of ``bits`` in two's complement with one of them flipped."""
    value = (value & (1 << bits) - 1) ^ 1 << bit
    return value - (1 << bits) if signed and value >> bits - 1 else value


def _flip_one(values: NDArray[Any], bits: int, rng: random.Random) -> NDArray[Any]:
    changed = values.copy()
    i = rng.randrange(len(changed))
    changed[i] = _flip(int(changed[i]), rng.randrange(bits), bits)
    return changed


def _flip_states(name: str, bits: int, rng: random.Random, running: ReferenceModel) -> None:
    """Flip a bit of each stream's state."""
    state = getattr(running, name)
    layers, streams, channels = state.shape
    for stream in range(streams):
        place = rng.randrange(layers), stream, rng.randrange(channels)
        state[place] = _flip(int(state[place]), rng.randrange(bits), bits)


def summarise(changes: Mapping[str, list[float]]) -> dict[str, dict[str, float]]:
    """Distribution of the changes of each kind, in nats per character."""
    return {kind: {
        "flips": len(some),
        "mean": float(np.mean(some)),
        "median": float(np.median(some)),
        "p90": float(np.quantile(some, 0.9)),
        "max": float(np.max(some)),
        "above_0.01": float(np.mean(np.array(some) > 0.01)),
    } for kind, some in changes.items()}


def plot(changes: Mapping[str, list[float]], path: Path) -> bool:
    """Draw the distributions; ``False`` if matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for row, (kind, some) in enumerate(changes.items()):
        axes.plot(np.array(some), np.full(len(some), row), "o", alpha=0.3, label=kind)
    axes.set_xscale("symlog", linthresh=1e-4)
    axes.set_yticks(range(len(changes)), list(changes))
    axes.set_xlabel("change of the loss by one flipped bit, nats per character")
    axes.axvline(0, linewidth=0.5)
    figure.savefig(path)
    return True
