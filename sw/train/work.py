"""Cost of one character for each kind of network: operations, and weights read. Needs no PyTorch.

Left out of all kinds alike: functions that are looked up or computed (sigmoid, root, exponential),
control, and activations, which registers hold. Weights are read once for each character, from an
on-chip memory that just holds them.
"""

from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.support.boards import board_device
from trilight.sw.power.operations import MemoryRead, Work
from trilight.sw.quality.evaluate import WINDOW_CHARACTERS

__all__ = ["FORMATS", "WEIGHT_BITS", "work_per_character"]

WEIGHT_BITS = {"float32": 32, "int8": 8}
"""Bits of a weight in the formats of networks in floating point."""

FORMATS = ("trits", *WEIGHT_BITS)

_BYTE = 8


def work_per_character(config: ModelConfig, kind: str, form: str, *,
                       zero_share: float = 0.0) -> Work:
    """Return the operations and reads that generating one character takes.

    Parameters
    ----------
    config
        Shape.
    kind
        ``ternary``, ``float`` or ``transformer``. The last attends to half of a window of
        ``WINDOW_CHARACTERS`` on average, and reads keys and values of float32 from a memory that
        holds a window of them.
    form
        Of the weights: ``trits``, or of ``WEIGHT_BITS``. With ``int8`` the inputs of matrices have
        8 bits too, and all else has float32.
    zero_share
        Share of ternary weights that are zero, which need no addition.
    """
    if kind == "ternary":
        return _ternary(config, zero_share)
    matrices = config.ternary_weights
    operations: dict[str, float] = (
        {"multiply_float32": matrices, "add_float32": matrices} if form == "float32" else
        {"multiply_int8": matrices, "add_int32": matrices,
         "multiply_float32": 0, "add_float32": 0})
    d, hidden, layers = config.d_model, config.d_hidden, config.n_layers
    norms = 2 * layers + 1
    # A norm squares and scales its inputs, and adds up the squares; the residual stream takes two
    # additions a layer, the gated unit one product; the head adds a bias.
    operations["multiply_float32"] += norms * 2 * d + layers * hidden
    operations["add_float32"] += norms * d + layers * 2 * d + config.vocab_size
    reads = [MemoryRead(WEIGHT_BITS[form] * matrices, WEIGHT_BITS[form] * matrices // _BYTE)]
    if kind == "float":
        # Taps 2d, state d, its gate d; sum of the taps d, forget bias d, state 2d.
        operations["multiply_float32"] += layers * 4 * d
        operations["add_float32"] += layers * 4 * d
    else:
        # Rotations of query and key, four products and two sums a pair; scores and mixture.
        attended = (WINDOW_CHARACTERS + 1) / 2
        operations["multiply_float32"] += layers * (4 * d + 2 * d * attended)
        operations["add_float32"] += layers * (2 * d + 2 * d * attended)
        cached = layers * 2 * d * WEIGHT_BITS["float32"]
        reads.append(MemoryRead(cached * attended, cached * WINDOW_CHARACTERS // _BYTE))
    return Work(operations, tuple(reads))


def _ternary(config: ModelConfig, zero_share: float) -> Work:
    d, hidden, layers = config.d_model, config.d_hidden, config.n_layers
    # Taps 2d, one multiplier per row of a matrix 5d + 2H, state d, products g h and a b d + H, tap
    # of the second norm d; tap of the head and a multiplier per logit.
    products = layers * (10 * d + 3 * hidden) + d + config.vocab_size
    # A sum of magnitudes in each norm; sum of the taps, forget bias, state 2d, residual 2d; bias.
    sums = (2 * layers + 1) * d + layers * 6 * d + config.vocab_size
    memory = config.weight_words(board_device().packing) * 8
    return Work({"multiply_int16": products,
                 "add_int16": config.ternary_weights * (1 - zero_share) + sums},
                (MemoryRead(memory * _BYTE, memory),))
