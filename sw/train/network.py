"""The network as PyTorch sees it: real weights behind, ternary weights in the forward pass.

Gradients pass through each rounding as if it were not there (straight-through estimators), and
every saturation of ``docs/number-formats.md`` is present while training, so that the network learns
to live with it. Activations that are no matrix inputs are not rounded here.

Tensors are time-major: ``[T, B, n]`` for T characters of a batch of B.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.shapes import ModelConfig

from . import scan as _operator  # noqa: F401  registers torch.ops.trilight.scan
from .scales import SCALES, norm_step

__all__ = ["Masks", "Network", "State"]

_Q_MAX = float(NUMBERS.act_max)
_RESIDUAL_MAX = 2.0 ** (NUMBERS.residual_bits - 1 - NUMBERS.residual_frac)
_RESIDUAL_STEP = 2.0**-NUMBERS.residual_frac
_GATE_MAX = 2.0 ** (NUMBERS.gate_bits - 1 - NUMBERS.gate_frac)
_GATE_STEP = 2.0**-NUMBERS.gate_frac
_INDEX_MAX = 2.0 ** (NUMBERS.index_bits - 1 - NUMBERS.index_frac)
_INDEX_STEP = 2.0**-NUMBERS.index_frac
_MIX_COUNTS = 2.0 ** (2 * NUMBERS.gate_frac - NUMBERS.mix_shift)
_GLU_COUNTS = 2.0 ** (2 * NUMBERS.gate_frac - NUMBERS.glu_shift)
_EMBED_MAX = 2**11 - 1
_SCALE_MAX = 2**NUMBERS.scale_bits - 1
_NORM_COUNTS = 24.0
"""Mean magnitude of a norm's input in counts, a fifth of the range."""


class State(NamedTuple):
    """State that the network carries from one character to the next."""

    h: Tensor
    """Hidden state, ``[L, B, d]``."""
    x_prev: Tensor
    """Each layer's input at the character before, quantised, ``[L, B, d]``."""


class Masks(NamedTuple):
    """Dropout factors, the same for all characters of a window."""

    mix: Tensor
    """``[L, B, d]``."""
    glu: Tensor
    """``[L, B, H]``."""


class _Round(torch.autograd.Function):
    """Round to nearest; the gradient passes unchanged."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


class _Ternary(torch.autograd.Function):
    """Round to nearest of -1, 0, +1; the gradient passes unchanged, also outside the range."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round().clamp(-1, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


def _round(x: Tensor) -> Tensor:
    return _Round.apply(x)


def _counts(x: Tensor) -> Tensor:
    """Quantise to the int8 counts of a matrix input."""
    return _round(functional.hardtanh(x, -_Q_MAX, _Q_MAX))


def _fixed(x: Tensor, frac: int, low: int, high: int) -> Tensor:
    """Quantise a parameter to ``frac`` fraction bits within ``[low, high]`` steps."""
    return _round((x * 2.0**frac).clamp(low, high)) * 2.0**-frac


def _tap(x: Tensor) -> Tensor:
    """Return counts of a unit of the residual stream, for a tap."""
    limit = 2 ** (NUMBERS.tap_bits - 1)
    return _fixed(x, NUMBERS.tap_frac, -limit, limit - 1) * 2.0**NUMBERS.residual_frac


def _norm_tap(x: Tensor) -> Tensor:
    limit = 2 ** (NUMBERS.tap_bits - 1)
    return _fixed(x, NUMBERS.tap_frac, 1, limit - 1) * 2.0**NUMBERS.residual_frac


def _bias(x: Tensor) -> Tensor:
    limit = 2 ** (NUMBERS.index_bits - 1)
    return _fixed(x, NUMBERS.index_frac, -limit, limit - 1)


def _absmean(weight: Tensor) -> Tensor:
    return weight.detach().abs().mean().clamp(min=1e-5)


def _multiplier(weight: Tensor, step: float, output_frac: int) -> Tensor:
    """Return ``scales.multiplier``, by the same arithmetic in float64."""
    bits = NUMBERS.scale_frac + output_frac
    return (weight.double() * step * 2.0**bits).round().clamp(1, _SCALE_MAX).float()


def _previous(x: Tensor) -> Tensor:
    """Quantise what the token shift remembers."""
    step = 2.0 ** (NUMBERS.prev_shift - NUMBERS.residual_frac)
    return _counts(x / step) * step


def _gain(q: Tensor) -> Tensor:
    """Return the factor by which a norm changes the multipliers of ``q``'s matrices."""
    return 2.0**NUMBERS.norm_shift / q.abs().sum(-1, keepdim=True).clamp(min=1)


def _first_tap(norms_before: int) -> float:
    """Return the tap that makes ``_NORM_COUNTS`` of the residual stream of trained networks.

    Its mean magnitude grows about evenly from norm to norm.
    """
    return _NORM_COUNTS * 2.0**-NUMBERS.residual_frac / (0.6 + 0.37 * norms_before)


class _Layer(nn.Module):
    """Parameters of one layer, by the names of ``docs/number-formats.md``."""

    def __init__(self, config: ModelConfig, number: int) -> None:
        super().__init__()
        d, hidden = config.d_model, config.d_hidden

        def weight(rows: int, columns: int, gain: float = 1.0) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, columns) * gain / columns**0.5)

        self.forget = weight(d, d)
        self.candidate = weight(d, d)
        self.gate = weight(d, d)
        self.mix_out = weight(d, d, 0.5)
        self.glu_gate = weight(hidden, d)
        self.glu_up = weight(hidden, d, 0.85)
        self.glu_down = weight(d, hidden, 0.5)
        tap = _first_tap(2 * number)
        self.tap_now = nn.Parameter(torch.full((d,), tap))
        self.tap_prev = nn.Parameter(torch.full((d,), 0.1 * tap))
        self.glu_tap = nn.Parameter(torch.tensor(_first_tap(2 * number + 1)))
        self.forget_bias = nn.Parameter(torch.linspace(0, 4, d))


class Network(nn.Module):
    """Trainable form of a model.

    Parameters
    ----------
    config
        Shape of the model.
    bf16
        Whether matrix products run in bfloat16. Their inputs are small integers, so only sums and
        gradients are rounded by it.
    ternary_threshold
        Magnitude, in parts of a matrix's mean, below which a weight becomes 0.
    """

    def __init__(self, config: ModelConfig, *, bf16: bool, ternary_threshold: float = 0.5) -> None:
        super().__init__()
        self.config = config
        self.bf16 = bf16
        self.ternary_threshold = ternary_threshold
        self.embedding = nn.Parameter(torch.randn(config.vocab_size, config.d_model) * 0.5)
        self.embed_scale = nn.Parameter(torch.tensor(0.6))
        self.head_gain = nn.Parameter(torch.tensor(0.8))
        self.head_tap = nn.Parameter(torch.tensor(_first_tap(2 * config.n_layers)))
        self.head_bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.layers = nn.ModuleList(_Layer(config, i) for i in range(config.n_layers))

    @staticmethod
    def recurrence(f: Tensor, c: Tensor, before: Tensor) -> Tensor:
        """Return ``h [T, B, d]`` of ``f`` and ``c [T, B, d]`` and the state ``before [B, d]``."""
        return torch.ops.trilight.scan(f, c, before)

    def start(self, batch_size: int) -> State:
        """Return the state after a reset."""
        shape = (self.config.n_layers, batch_size, self.config.d_model)
        return State(self.embedding.new_zeros(shape), self.embedding.new_zeros(shape))

    def draw_masks(self, batch_size: int, rate: float, generator: torch.Generator) -> Masks:
        """Draw dropout factors: 0 at the given rate, otherwise ``1 / (1 - rate)``."""
        def draw(width: int) -> Tensor:
            shape = (self.config.n_layers, batch_size, width)
            kept = torch.rand(shape, generator=generator, device=generator.device) >= rate
            return (kept / (1 - rate)).to(self.embedding.device)

        return Masks(draw(self.config.d_model), draw(self.config.d_hidden))

    def forward(self, tokens: Tensor, state: State, masks: Masks | None = None,
                ) -> tuple[Tensor, State]:
        """Return the logits after each of ``tokens [T, B]``, in nats, and the state after them."""
        embedding = _Ternary.apply(self._scaled_to_round(self.embedding))
        scale = _fixed(self.embed_scale, NUMBERS.residual_frac, 1, _EMBED_MAX)
        x = functional.embedding(tokens, embedding) * scale
        h_after, x_after = [], []
        for i, layer in enumerate(self.layers):
            remembered = _previous(x)
            x_after.append(remembered[-1].detach())
            shifted = torch.cat([state.x_prev[i][None], remembered[:-1]])
            q = _counts(x * _tap(layer.tap_now) + shifted * _tap(layer.tap_prev))
            gain = _gain(q)
            f = _index(self._product(layer, "forget", q, gain) + _bias(layer.forget_bias))
            f = f.sigmoid()
            c = functional.silu(_index(self._product(layer, "candidate", q, gain)))
            g = functional.silu(_index(self._product(layer, "gate", q, gain)))
            h = self.recurrence(f, c, state.h[i])
            h_after.append(h[-1].detach())
            u = g * h * _MIX_COUNTS
            if masks is not None:
                u = u * masks.mix[i]
            x = _saturate(x + self._product(layer, "mix_out", _counts(u)))
            q = _counts(x * _norm_tap(layer.glu_tap))
            gain = _gain(q)
            a = functional.silu(_index(self._product(layer, "glu_gate", q, gain)))
            b = functional.hardtanh(
                self._product(layer, "glu_up", q, gain), -_GATE_MAX, _GATE_MAX - _GATE_STEP)
            v = a * b * _GLU_COUNTS
            if masks is not None:
                v = v * masks.glu[i]
            x = _saturate(x + self._product(layer, "glu_down", _counts(v)))
        head = _head_multiplier(self.head_gain, self.config.d_model)
        q = _counts(x * _norm_tap(self.head_tap))
        logits = self._matmul(q, embedding) * _scaled(head, _gain(q), NUMBERS.logit_frac)
        bias = _fixed(self.head_bias, NUMBERS.logit_frac, -(2**15), 2**15 - 1)
        return logits + bias, State(torch.stack(h_after), torch.stack(x_after))

    def _scaled_to_round(self, weight: Tensor) -> Tensor:
        """Return a matrix so scaled that rounding makes 0 of what is below the limit."""
        return weight / (_absmean(weight) * (2 * self.ternary_threshold))

    def _matmul(self, q: Tensor, trits: Tensor) -> Tensor:
        if self.bf16:
            return functional.linear(q.bfloat16(), trits.bfloat16()).float()
        return functional.linear(q, trits)

    def _product(self, layer: nn.Module, name: str, q: Tensor, gain: Tensor | None = None,
                 ) -> Tensor:
        """Multiply counts by a matrix; ``gain`` is that of ``q``'s norm, if it has one."""
        weight: Tensor = getattr(layer, name)
        absmean = _absmean(weight)
        trits = _Ternary.apply(self._scaled_to_round(weight))
        scale = SCALES[name]
        step = norm_step(self.config.d_model) if scale.input_step is None else scale.input_step
        multiplier = _multiplier(absmean, step, scale.output_frac)
        return self._matmul(q, trits) * _scaled(multiplier, gain, scale.output_frac)

    @torch.no_grad()
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what ``export.build_model`` needs, as NumPy arrays.

        Matrices appear as their trits (int8) and, under ``<name>.weight``, the value of a trit of
        +1; everything else by its name.
        """
        arrays: dict[str, NDArray[Any]] = {}
        for name, value in self.named_parameters():
            leaf = name.rpartition(".")[2]
            if leaf in SCALES or leaf == "embedding":
                trits = self._scaled_to_round(value).round().clamp(-1, 1)
                arrays[name] = trits.to(torch.int8).cpu().numpy()
                arrays[name + ".weight"] = np.array(_absmean(value).item())
            else:
                arrays[name] = value.detach().double().cpu().numpy()
        return arrays


def _saturate(x: Tensor) -> Tensor:
    return functional.hardtanh(x, -_RESIDUAL_MAX, _RESIDUAL_MAX - _RESIDUAL_STEP)


def _index(x: Tensor) -> Tensor:
    """Clip to the middles of the first and the last step of the tables."""
    return functional.hardtanh(x, -_INDEX_MAX + _INDEX_STEP / 2, _INDEX_MAX - _INDEX_STEP / 2)


def _scaled(multiplier: Tensor, gain: Tensor | None, output_frac: int) -> Tensor:
    """Return what a count of a product is worth in units of the output."""
    if gain is not None:
        multiplier = (multiplier * gain).clamp(max=_SCALE_MAX)
    return multiplier * 2.0 ** -(NUMBERS.scale_frac + output_frac)


def _head_multiplier(gain: Tensor, d_model: int) -> Tensor:
    """Return ``scales.head_scale``, with a gradient."""
    bits = NUMBERS.scale_frac + NUMBERS.logit_frac
    step = norm_step(d_model) / d_model**0.5
    return (_fixed(gain.double() * step, bits, 1, _SCALE_MAX) * 2.0**bits).float()
