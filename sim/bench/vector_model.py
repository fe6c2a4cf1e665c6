"""The number formats' formulas from a matrix's sums to the next matrix's activations, in NumPy.

Written apart from the reference on purpose: the two have to agree.
"""

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.numbers import NUMBERS
from trilight.sw.reference.model import rshift, saturate
from trilight.sw.reference.tables import SIGMOID, SILU

from .coverage import cover, ends
from .device import DEVICE

__all__ = [
    "GATE",
    "HALF",
    "INDEX",
    "LOGITS",
    "MAX_FORGET",
    "TAPS",
    "Integers",
    "Parameters",
    "SequenceModel",
    "any_of",
    "signed_range",
]

Integers = NDArray[np.signedinteger[Any]]
"""Mostly 64 bits: a sum of many columns times a scale takes more than 32."""


def signed_range(bits: int) -> tuple[int, int]:
    """Least and greatest integer of ``bits``."""
    return -(1 << bits - 1), (1 << bits - 1) - 1


TAPS = signed_range(NUMBERS.tap_bits)

INDEX = signed_range(NUMBERS.index_bits)

GATE = signed_range(NUMBERS.gate_bits)

LOGITS = signed_range(NUMBERS.logit_bits)

MAX_FORGET = (1 << NUMBERS.forget_bits) - 1

HALF = 1 << NUMBERS.index_bits - 1
"""Entries of a table that a device keeps."""

MIRROR = (2 * np.arange(HALF) + 1) << NUMBERS.gate_frac - NUMBERS.index_frac - 1
"""Excess of ``SILU`` of an index over that of its complement: 16 i + 8."""


def any_of(rng: np.random.Generator, limits: tuple[int, int], size: int) -> Integers:
    """Integers between two limits: spread, at the limits only, small, or all the same."""
    match rng.integers(5):
        case 0:
            values = rng.choice(limits, size)
        case 1:
            values = rng.integers(-4, 5, size)
        case 2:
            values = np.full(size, rng.choice([*limits, 0]))
        case _:
            values = rng.integers(*limits, size, endpoint=True)
    clipped: Integers = np.clip(values, *limits).astype(np.int64)
    return clipped


class Parameters:
    """Parameters that are loaded, and that sequences share.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws it: real tables, or any.
    channels, layers : int
        Channels of the residual stream; layers that have a state.
    """

    def __init__(self, rng: np.random.Generator, channels: int, layers: int) -> None:
        self.channels = channels
        self.layers = layers
        size = channels * layers
        if rng.random() < 0.5:
            self.set_tables(SIGMOID[HALF:], SILU[HALF:])
        else:
            self.set_tables(any_of(rng, (0, MAX_FORGET), HALF), any_of(rng, GATE, HALF))
        self.tap_now = any_of(rng, TAPS, size).reshape(layers, channels)
        self.tap_prev = any_of(rng, TAPS, size).reshape(layers, channels)
        self.forget_bias = any_of(rng, INDEX, size).reshape(layers, channels)
        self.head_bias = any_of(rng, LOGITS, DEVICE.max_vocab)
        for name, limits in (("tap_now", TAPS), ("tap_prev", TAPS), ("forget_bias", INDEX),
                             ("head_bias", LOGITS)):
            ends(f"vector.{name}", getattr(self, name).ravel(), *limits)

    def set_tables(self, sigmoid: Integers, silu: Integers) -> None:
        """Tables from their halves for indices of at least 0; the others' entries fit as well."""
        silu = np.maximum(silu, GATE[0] + MIRROR)
        self.sigmoid = np.concatenate([(MAX_FORGET - sigmoid)[::-1], sigmoid])
        self.silu = np.concatenate([(silu - MIRROR)[::-1], silu])


def _cover_saturation(name: str, values: Integers, minimum: int, greatest: int) -> None:
    cover(f"vector.saturated {name}", *["low"] * bool((values < minimum).any()),
          *["high"] * bool((values > greatest).any()))


def _saturate(name: str, values: Integers, bits: int) -> Integers:
    """The reference's saturation, and a note of whether it did anything."""
    _cover_saturation(name, values, *signed_range(bits))
    return saturate(values, bits)


class SequenceModel:
    """``docs/number-formats.md`` from a matrix's sums to the next matrix's activations.

    Attributes
    ----------
    clipped : Counter
        How often -128 was clipped to -127, by what it was.
    not_total : int
        Complement of the sum of magnitudes of the last ``q``.
    """

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.clipped: Counter[str] = Counter()
        self.not_total = 0
        self.h = np.zeros((parameters.layers, parameters.channels), np.int64)
        self.x_prev = np.zeros_like(self.h)
        self.x: Integers = self.h[0]

    def reset(self) -> None:
        self.h[:] = 0
        self.x_prev[:] = 0

    @staticmethod
    def _requant(sums: Integers, scale: int) -> Integers:
        return rshift(sums * scale, NUMBERS.scale_frac)

    def _look_up(self, gate: str, sums: Integers, scale: int,
                 bias: Integers | int = 0) -> Integers:
        """Entries of the table of a gate: ``forget``, or any other."""
        index = (sums * scale >> NUMBERS.scale_frac) + bias
        saturated = _saturate(f"{gate} index", index, NUMBERS.index_bits) + HALF
        name = "sigmoid" if gate == "forget" else "silu"
        cover(f"vector.{name} entry", *np.unique(saturated).tolist())
        table = self.parameters.sigmoid if gate == "forget" else self.parameters.silu
        return table[saturated]

    def _clip(self, name: str, values: Integers) -> Integers:
        just_past = int((values == -NUMBERS.act_max - 1).sum())
        self.clipped[name] += just_past
        if just_past:
            cover(f"vector.-128 becomes -127 in {name}", "seen")
        _cover_saturation(name, values, -NUMBERS.act_max, NUMBERS.act_max)
        clipped: Integers = np.clip(values, -NUMBERS.act_max, NUMBERS.act_max)
        return clipped

    def _norm_input(self, tapped: Integers) -> Integers:
        q = self._clip("q", rshift(tapped, NUMBERS.tap_frac))
        total = int(np.abs(q).sum())
        cover("vector.sum of magnitudes", "more" if total else "0")
        self.not_total = (1 << DEVICE.norm_bits) - 1 - total
        return q

    def shift(self, layer: int) -> Integers:
        """``q`` of the present ``x`` and the one of the token before."""
        parameters = self.parameters
        before = self.x_prev[layer] << NUMBERS.prev_shift
        q = self._norm_input(
            self.x * parameters.tap_now[layer] + before * parameters.tap_prev[layer])
        self.x_prev[layer] = self._clip("x_prev", rshift(self.x, NUMBERS.prev_shift))
        return q

    def tapped(self, tap: int) -> Integers:
        """``q`` of ``x`` itself."""
        return self._norm_input(self.x * tap)

    def mix(self, layer: int, sums: Integers, scales: list[int]) -> tuple[Integers, Integers]:
        """``h`` and ``u``; rows of the three matrices take turns."""
        parameters = self.parameters
        f = self._look_up("forget", sums[0::3], scales[0], parameters.forget_bias[layer])
        c = self._look_up("candidate", sums[1::3], scales[1])
        g = self._look_up("gate", sums[2::3], scales[2])
        h = c + rshift(f * (self.h[layer] - c), NUMBERS.forget_bits)
        self.h[layer] = h
        ends("vector.state", h, *GATE)
        return h, self._clip("u", rshift(g * h, NUMBERS.mix_shift))

    def glu(self, sums: Integers, scales: list[int]) -> Integers:
        a = self._look_up("glu gate", sums[0::2], scales[0])
        b = _saturate("glu up", self._requant(sums[1::2], scales[1]), NUMBERS.gate_bits)
        return self._clip("v", rshift(a * b, NUMBERS.glu_shift))

    def residual(self, sums: Integers, scale: int) -> Integers:
        self.x = _saturate("residual", self.x + self._requant(sums, scale),
                           NUMBERS.residual_bits)
        return self.x

    def head(self, sums: Integers, scale: int) -> Integers:
        bias = self.parameters.head_bias[:len(sums)]
        return _saturate("logit", self._requant(sums, scale) + bias, NUMBERS.logit_bits)
