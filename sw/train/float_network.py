"""Networks in floating point: teachers of a ternary one, and what it is compared with.

They have the interface of ``network.Network`` as far as training goes. Tensors are time-major:
``[T, B, n]`` for T characters of a batch of B.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from trilight.hw.contract.shapes import ModelConfig

from . import scan as _operator  # noqa: F401  registers torch.ops.trilight.scan
from .network import State

__all__ = ["FloatMasks", "FloatNetwork", "Transformer", "TransformerMasks"]

_INPUT_SHARE = 1 / 3
"""Dropout of the embedding and before the head, in parts of that of the branches."""

_INT8_MAX = 127


class FloatMasks(NamedTuple):
    """Dropout factors, the same for all characters of a window."""

    embedding: Tensor
    """``[B, d]``."""
    mix: Tensor
    """``[L, B, d]``."""
    glu: Tensor
    """``[L, B, H]``."""
    head: Tensor
    """``[B, d]``."""


class TransformerMasks(NamedTuple):
    """Dropout factors, the same for all characters of a window."""

    branches: Tensor
    """Attention and feed-forward of each layer, ``[L, 2, B, d]``."""
    head: Tensor
    """``[B, d]``."""


def _weight(rows: int, columns: int, gain: float = 1.0) -> nn.Parameter:
    return nn.Parameter(torch.randn(rows, columns) * gain / columns**0.5)


def _draw(shape: tuple[int, ...], rate: float, generator: torch.Generator,
          device: torch.device) -> Tensor:
    kept = torch.rand(shape, generator=generator, device=generator.device) >= rate
    return (kept / (1 - rate)).to(device)


class _Products(nn.Module):
    """Matrix products in the arithmetic of a network."""

    bf16: bool
    int8_inputs = False
    """True if inputs are rounded to 8 bits, each vector with a scale of its own."""

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        if self.int8_inputs:
            step = x.abs().amax(-1, keepdim=True).clamp(min=1e-12) / _INT8_MAX
            x = (x / step).round() * step
        if self.bf16:
            return functional.linear(x.bfloat16(), weight.bfloat16()).float()
        return functional.linear(x, weight)


class _FloatLayer(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d, hidden = config.d_model, config.d_hidden
        self.gates = _weight(3 * d, d)
        self.mix_out = _weight(d, d, 0.5)
        self.glu = _weight(2 * hidden, d)
        self.glu_down = _weight(d, hidden, 0.5)
        self.tap_now = nn.Parameter(torch.ones(d))
        self.tap_prev = nn.Parameter(torch.full((d,), 0.1))
        self.forget_bias = nn.Parameter(torch.linspace(0, 4, d))


class FloatNetwork(_Products):
    """The ternary network's structure with real weights, root-mean-square norms and no limits.

    Parameters
    ----------
    config
        Shape, free of a device's limits.
    bf16
        Whether matrix products run in bfloat16.
    """

    def __init__(self, config: ModelConfig, *, bf16: bool) -> None:
        super().__init__()
        self.config = config
        self.bf16 = bf16
        self.embedding = nn.Parameter(torch.randn(config.vocab_size, config.d_model))
        self.head_gain = nn.Parameter(torch.tensor(0.8))
        self.head_bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.layers = nn.ModuleList(_FloatLayer(config) for _ in range(config.n_layers))

    def start(self, batch_size: int) -> State:
        """Return the state after a reset."""
        shape = (self.config.n_layers, batch_size, self.config.d_model)
        return State(self.embedding.new_zeros(shape), self.embedding.new_zeros(shape))

    def draw_masks(self, batch_size: int, rate: float, generator: torch.Generator) -> FloatMasks:
        """Draw dropout factors; the rate is that of the branches."""
        layers, d, hidden = self.config.n_layers, self.config.d_model, self.config.d_hidden
        device = self.embedding.device
        return FloatMasks(
            _draw((batch_size, d), rate * _INPUT_SHARE, generator, device),
            _draw((layers, batch_size, d), rate, generator, device),
            _draw((layers, batch_size, hidden), rate, generator, device),
            _draw((batch_size, d), rate * _INPUT_SHARE, generator, device))

    def forward(self, tokens: Tensor, state: State, masks: FloatMasks | None = None,
                ) -> tuple[Tensor, State]:
        """Return the logits after each of ``tokens [T, B]``, in nats, and the state after them."""
        d = self.config.d_model
        x = functional.embedding(tokens, self.embedding) * 0.4
        if masks is not None:
            x = x * masks.embedding
        h_after, x_after = [], []
        for i, layer in enumerate(self.layers):
            x_after.append(x[-1].detach())
            shifted = torch.cat([state.x_prev[i][None], x[:-1]])
            q = functional.rms_norm(x * layer.tap_now + shifted * layer.tap_prev, (d,))
            f, c, g = self._product(q, layer.gates).split(d, -1)
            h = torch.ops.trilight.scan(
                (f + layer.forget_bias).sigmoid(), functional.silu(c), state.h[i])
            h_after.append(h[-1].detach())
            u = functional.silu(g) * h
            if masks is not None:
                u = u * masks.mix[i]
            x = x + self._product(u, layer.mix_out)
            a, b = self._product(functional.rms_norm(x, (d,)), layer.glu).chunk(2, -1)
            v = functional.silu(a) * b
            if masks is not None:
                v = v * masks.glu[i]
            x = x + self._product(v, layer.glu_down)
        x = functional.rms_norm(x, (d,))
        if masks is not None:
            x = x * masks.head
        logits = self._product(x, self.embedding) * (self.head_gain / d**0.5) + self.head_bias
        return logits, State(torch.stack(h_after), torch.stack(x_after))


class _TransformerLayer(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d, hidden = config.d_model, config.d_hidden
        self.attention = _weight(3 * d, d)
        self.attention_out = _weight(d, d, 0.5)
        self.glu = _weight(2 * hidden, d)
        self.glu_down = _weight(d, hidden, 0.5)


class Transformer(_Products):
    """A causal Transformer: rotary positions, gated feed-forward units, tied embedding.

    It sees the window that it is given and nothing before: its state is empty.

    Parameters
    ----------
    config
        Shape; a layer has as many weights as one of the other networks.
    bf16
        Whether matrix products run in bfloat16.
    """

    HEAD_WIDTH = 32

    def __init__(self, config: ModelConfig, *, bf16: bool) -> None:
        super().__init__()
        self.config = config
        self.bf16 = bf16
        self.heads = max(1, config.d_model // self.HEAD_WIDTH)
        self.embedding = nn.Parameter(torch.randn(config.vocab_size, config.d_model))
        self.head_gain = nn.Parameter(torch.tensor(0.8))
        self.head_bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.layers = nn.ModuleList(_TransformerLayer(config) for _ in range(config.n_layers))

    def start(self, batch_size: int) -> State:
        """Return the empty state."""
        empty = self.embedding.new_zeros((0, batch_size, 0))
        return State(empty, empty)

    def draw_masks(self, batch_size: int, rate: float, generator: torch.Generator,
                   ) -> TransformerMasks:
        """Draw dropout factors; the rate is that of the branches."""
        layers, d = self.config.n_layers, self.config.d_model
        device = self.embedding.device
        return TransformerMasks(
            _draw((layers, 2, batch_size, d), rate, generator, device),
            _draw((batch_size, d), rate * _INPUT_SHARE, generator, device))

    def forward(self, tokens: Tensor, state: State, masks: TransformerMasks | None = None,
                ) -> tuple[Tensor, State]:
        """Return the logits after each of ``tokens [T, B]``, in nats, and the empty state."""
        d = self.config.d_model
        x = functional.embedding(tokens, self.embedding) * 0.4
        turn = self._rotation(len(tokens), x.device)
        for i, layer in enumerate(self.layers):
            u = self._attention(functional.rms_norm(x, (d,)), layer, turn)
            x = x + (u if masks is None else u * masks.branches[i, 0])
            a, b = self._product(functional.rms_norm(x, (d,)), layer.glu).chunk(2, -1)
            v = self._product(functional.silu(a) * b, layer.glu_down)
            x = x + (v if masks is None else v * masks.branches[i, 1])
        x = functional.rms_norm(x, (d,))
        if masks is not None:
            x = x * masks.head
        logits = self._product(x, self.embedding) * (self.head_gain / d**0.5) + self.head_bias
        return logits, state

    def _attention(self, x: Tensor, layer: nn.Module, turn: tuple[Tensor, Tensor]) -> Tensor:
        length, batch_size, d = x.shape
        parts = self._product(x, layer.attention).view(length, batch_size, 3, self.heads, -1)
        query, key, value = parts.permute(2, 1, 3, 0, 4)
        mixed = functional.scaled_dot_product_attention(
            _rotate(query, turn), _rotate(key, turn), value, is_causal=True)
        return self._product(
            mixed.permute(2, 0, 1, 3).reshape(length, batch_size, d), layer.attention_out)

    def _rotation(self, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        half = self.config.d_model // self.heads // 2
        rates = 1000.0 ** (-torch.arange(half, device=device) / half)
        angles = torch.arange(length, device=device)[:, None] * rates
        return angles.cos(), angles.sin()


def _rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    cosine, sine = turn
    a, b = x.chunk(2, -1)
    return torch.cat([a * cosine - b * sine, a * sine + b * cosine], -1)
