"""Export of a trained network's arrays as an integer model. Needs no PyTorch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.model.model import MATRICES, Layer, Matrix, Model

from .scales import SCALES, head_scale, multiplier, to_fixed

__all__ = ["build_model"]

_EMBED_MAX = 2 ** (NUMBERS.residual_bits - 1) - 1


def _fixed_array(values: NDArray[Any], frac: int, bits: int) -> NDArray[Any]:
    """Round to ``frac`` fraction bits, halves to even, and clip to ``bits`` in all."""
    limit = 2 ** (bits - 1)
    return np.clip(np.rint(values * 2.0**frac), -limit, limit - 1).astype(np.int32)


def _norm_tap(value: NDArray[Any]) -> int:
    return to_fixed(float(value), NUMBERS.tap_frac, 1, 2 ** (NUMBERS.tap_bits - 1) - 1)


def build_model(config: ModelConfig, vocab: tuple[str, ...], arrays: Mapping[str, NDArray[Any]],
                provenance: Mapping[str, Any], tokenizer: str = "") -> Model:
    """Round a network's parameters to the formats of ``docs/number-formats.md``.

    Parameters
    ----------
    config
        Shape of the model.
    vocab, tokenizer
        As in ``Model``.
    arrays
        ``Network.arrays()``: per matrix its trits and, under ``<name>.weight``, the value of a
        trit of +1; per vector its real values.
    provenance
        Where the model comes from.
    """
    def layer(number: int) -> Layer:
        def of(name: str) -> NDArray[Any]:
            return arrays[f"layers.{number}.{name}"]

        matrices = {
            name: Matrix(of(name), multiplier(
                float(of(f"{name}.weight")), SCALES[name], config.d_model))
            for name in MATRICES
        }
        return Layer(
            **matrices,
            tap_now=_fixed_array(of("tap_now"), NUMBERS.tap_frac, NUMBERS.tap_bits),
            tap_prev=_fixed_array(of("tap_prev"), NUMBERS.tap_frac, NUMBERS.tap_bits),
            forget_bias=_fixed_array(of("forget_bias"), NUMBERS.index_frac, NUMBERS.index_bits),
            glu_tap=_norm_tap(of("glu_tap")),
        )

    return Model(
        config=config,
        vocab=vocab,
        embedding=arrays["embedding"],
        embed_scale=to_fixed(float(arrays["embed_scale"]), NUMBERS.residual_frac, 1, _EMBED_MAX),
        head_scale=head_scale(float(arrays["head_gain"]), config.d_model),
        head_tap=_norm_tap(arrays["head_tap"]),
        head_bias=_fixed_array(arrays["head_bias"], NUMBERS.logit_frac, NUMBERS.logit_bits),
        layers=tuple(layer(number) for number in range(config.n_layers)),
        provenance=provenance,
        tokenizer=tokenizer,
    )
