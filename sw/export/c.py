"""A model as one C99 file and a header of constants."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from trilight.hw.contract.noise import BYTE
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.trits import FILE_CODE
from trilight.sw.cli.console import write_file
from trilight.sw.errors import ExportError
from trilight.sw.model.model import COLUMNS_OF_16_BITS, Matrix, Model
from trilight.sw.model.trits import pack_trits
from trilight.sw.reference.tables import GUMBEL, SIGMOID, SILU

__all__ = ["HEADER", "SOURCE", "CExport", "constant_bytes", "export_c", "ram_bytes"]

HEADER = "model.h"
SOURCE = "trilight.c"

_WIDTH = 96


@dataclass(frozen=True, kw_only=True)
class CExport:
    """The files of an export, and the memory that they take on a device."""

    source: Path
    header: Path
    constant_bytes: int
    """Weights, tables and other arrays: what goes to flash, the program itself excluded."""
    ram_bytes: int
    """``sizeof(trilight_t)``: all the memory that the program writes to, the stack excluded."""


def export_c(model: Model, folder: Path, *, force: bool = False) -> CExport:
    """Write ``trilight.c`` and ``model.h`` to a folder, which is made if it is missing.

    Parameters
    ----------
    force
        Overwrite files that are there.

    Raises
    ------
    ExportError
        A file is there already and ``force`` is not set, or the model has too many columns.
    ReportError
        A file cannot be written.
    """
    if max(model.config.d_model, model.config.d_hidden) > COLUMNS_OF_16_BITS:
        raise ExportError("the C program adds up in 16 bits, which sums of at most "
                          f"{COLUMNS_OF_16_BITS} columns fit; export a model with fewer than "
                          f"{model.config}")
    if model.tokenizer or model.config.vocab_size > 1 << BYTE.draw_bits:
        raise ExportError(
            f"the C program is for characters, at most 256 of them, and this model has "
            f"{model.config.vocab_size:,} {'sub-word ' if model.tokenizer else ''}tokens; run it "
            "with trilight generate")
    source, header = folder / SOURCE, folder / HEADER
    for path in (source, header):
        if path.exists() and not force:
            raise ExportError(f"{path} is there already; add --force to overwrite it, or name "
                              "another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"cannot make the folder {folder}: {error.strerror}") from error
    constants = _Constants()
    text = _header(model, constants)
    write_file(source, (files(__package__) / SOURCE).read_bytes())
    write_file(header, text.encode())
    return CExport(source=source, header=header, constant_bytes=constants.bytes,
                   ram_bytes=ram_bytes(model))


class _Constants:
    """Arrays as C text, and a count of the bytes that they take."""

    def __init__(self) -> None:
        self.bytes = 0

    def array(self, type_: str, name: str, values: Iterable[int], *dimensions: int) -> str:
        """``static const TYPE NAME[...] = {...};``, with nested braces for two dimensions."""
        array = np.asarray(list(values), np.int64)
        self.bytes += len(array) * (1 if "int8" in type_ else 2)
        rows = array.reshape(-1, dimensions[-1]) if len(dimensions) > 1 else [array]
        body = ",\n".join("{\n" + _wrapped(map(str, row)) + "}" for row in rows)
        sizes = "".join(f"[{size}]" for size in dimensions or (len(array),))
        return (f"static const {type_} {name}{sizes} = "
                + ("{\n" + body + "\n}" if len(dimensions) > 1 else body) + ";")


def _wrapped(words: Iterable[str]) -> str:
    lines, line = [], ""
    for word in words:
        if len(line) + len(word) + 1 > _WIDTH:
            lines.append(line)
            line = ""
        line += word + ","
    return "\n".join([*lines, line])


def _weights(model: Model) -> tuple[np.ndarray[tuple[int], np.dtype[np.uint8]], int]:
    """Weight bytes in the order of computation, and where those of the head begin.

    Five columns of a matrix after the other; within them a byte for each row.
    """
    def codes(*matrices: Matrix) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
        return np.ravel(pack_trits(np.vstack([matrix.trits for matrix in matrices])).T)

    parts = [part for layer in model.layers for part in (
        codes(layer.forget, layer.candidate, layer.gate), codes(layer.mix_out),
        codes(layer.glu_gate, layer.glu_up), codes(layer.glu_down))]
    head = codes(Matrix(model.embedding, model.head_scale))
    return np.concatenate([*parts, head]), sum(map(len, parts))


def _max_rows(model: Model) -> int:
    config = model.config
    return max(3 * config.d_model, 2 * config.d_hidden, config.vocab_size)


def constant_bytes(model: Model) -> int:
    """Bytes of weights, tables and other arrays of an export."""
    constants = _Constants()
    _header(model, constants)
    return constants.bytes


def ram_bytes(model: Model) -> int:
    """``sizeof(trilight_t)``, its padding to four bytes included."""
    config = model.config
    d, layers, words = config.d_model, config.n_layers, 2
    halves = layers * d * words
    before = layers * d
    act = max(d, config.d_hidden)
    offset = halves + before
    offset += offset % 2 + d * words + act
    offset += offset % 2 + (_max_rows(model) + 256) * words
    return offset + -offset % 4 + 4


def _header(model: Model, constants: _Constants) -> str:
    config, n = model.config, NUMBERS
    weights, head = _weights(model)
    sizes = {
        "VOCAB": config.vocab_size, "D": config.d_model, "LAYERS": config.n_layers,
        "HIDDEN": config.d_hidden, "MAX_COLUMNS": max(config.d_model, config.d_hidden),
        "MAX_ROWS": _max_rows(model), "RAM_BYTES": ram_bytes(model), "STEPS": len(FILE_CODE.steps),
        "HEAD": head, "EMBED_SCALE": model.embed_scale, "HEAD_SCALE": model.head_scale,
        "HEAD_TAP": model.head_tap,
        "ACT_MAX": n.act_max, "SCALE_FRAC": n.scale_frac, "SCALE_MAX": (1 << n.scale_bits) - 1,
        "RESIDUAL_BITS": n.residual_bits, "PREV_SHIFT": n.prev_shift, "TAP_FRAC": n.tap_frac,
        "NORM_SHIFT": n.norm_shift, "INDEX_BITS": n.index_bits, "GATE_BITS": n.gate_bits,
        "FORGET_BITS": n.forget_bits, "MIX_SHIFT": n.mix_shift, "GLU_SHIFT": n.glu_shift,
        "LOGIT_BITS": n.logit_bits, "NOISE_SHIFT": n.noise_shift,
        "ZERO_SEED": f"{n.rng_zero_seed:#x}u",
    }
    layers, array = model.layers, constants.array
    shape = (config.n_layers, config.d_model)
    vocab = _wrapped(_c_string(token) for token in model.vocab)
    constants.bytes += sum(len(token.encode()) + 1 for token in model.vocab)
    return "\n\n".join([
        ("/*\n * Constants of one model for trilight.c, written by `trilight export c`.\n"
        f" * Model {model.sha256}\n */"),
        "\n".join(f"#define TRILIGHT_{name} {value}" for name, value in sizes.items()),
        "/* Steps of the Gray path: +-(which of five values + 1). */\n" + array(
            "int8_t", "trilight_steps", ((digit + 1) * sign for digit, sign in FILE_CODE.steps)),
        array("uint8_t", "trilight_taps", n.rng_taps),
        array("int16_t", "trilight_sigmoid", SIGMOID),
        array("int16_t", "trilight_silu", SILU),
        array("int16_t", "trilight_gumbel", GUMBEL),
        "/* Multipliers: forget, candidate, gate, mix_out, glu_gate, glu_up, glu_down. */\n"
        + array("int16_t", "trilight_scales",
                (m.scale for layer in layers for m in layer.matrices.values()),
                config.n_layers, 7),
        array("int8_t", "trilight_tap_now", np.ravel([x.tap_now for x in layers]), *shape),
        array("int8_t", "trilight_tap_prev", np.ravel([x.tap_prev for x in layers]), *shape),
        array("int8_t", "trilight_forget_bias", np.ravel([x.forget_bias for x in layers]), *shape),
        array("int8_t", "trilight_glu_tap", (x.glu_tap for x in layers)),
        array("int16_t", "trilight_head_bias", model.head_bias),
        ("/* The token's characters, UTF-8. */\n"
        f"static const char *const trilight_vocab[{config.vocab_size}] = {{\n{vocab}}};"),
        "/* Five trits a byte, all rows of five columns, matrix after matrix. */\n"
        + array("uint8_t", "trilight_weights", weights),
    ]) + "\n"


def _c_string(text: str) -> str:
    """A C string literal; bytes that are not plain ASCII as three octal digits."""
    plain = (chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}"
             for byte in text.encode())
    return f'"{"".join(plain)}"'
