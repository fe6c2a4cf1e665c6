"""Parts of a model file: its metadata, checked, and its tensors.

``docs/model-files.md`` says how a model is stored; ``Model.load`` and ``Model.save`` use this.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.contract.trits import FILE_CODE
from trilight.sw.errors import ModelError, ModelFileError

__all__ = ["FORMAT", "LAYER_TENSORS", "MATRICES", "METADATA_KEY", "VERSION", "canonical",
           "checked_integer", "checksum", "matrix_shape", "read_config", "read_metadata",
           "read_tensors"]

MATRICES = ("forget", "candidate", "gate", "mix_out", "glu_gate", "glu_up", "glu_down")
"""Matrices of a layer, in the order of computation."""

FORMAT = "trilight-model"
VERSION = 2
METADATA_KEY = "trilight"
LAYER_TENSORS = ("scales", "taps", "forget_bias", "glu_tap", *MATRICES)


def checked_integer(name: str, value: object, low: int, high: int) -> int:
    """Return an integer of a range; raise ``ModelError`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ModelError(f"{name} must be an integer, not {value!r}")
    if not low <= value <= high:
        raise ModelError(f"{name} must be in [{low}, {high}], not {value}")
    return int(value)


def matrix_shape(name: str, d: int, hidden: int) -> tuple[int, int]:
    """Return rows and columns of a layer's matrix."""
    if name == "glu_down":
        return d, hidden
    return (hidden if name.startswith("glu_") else d), d


def canonical(value: object) -> str:
    """Return JSON that is the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def checksum(about: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the metadata's JSON without its ``checksum``."""
    covered = {key: value for key, value in about.items() if key != "checksum"}
    return hashlib.sha256(canonical(covered).encode()).hexdigest()


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def read_metadata(metadata: Mapping[str, str] | None) -> dict[str, Any]:
    """Return the metadata of a file; raise ``ModelError`` for what is damaged or of no model."""
    if not metadata or METADATA_KEY not in metadata:
        raise ModelFileError(f"it has no {METADATA_KEY!r} metadata, so it is some other "
                             "program's model; train or convert one with this program")
    try:
        about = json.loads(metadata[METADATA_KEY], parse_constant=_no_constant)
        if not isinstance(about, dict):
            raise ValueError(f"it is {type(about).__name__}, not an object")
        version = about.get("version")
        if about.get("format") == FORMAT and version != VERSION:
            raise ModelFileError(f"it is of format version {version!r}, not {VERSION}; use the "
                                 "release of this program that wrote it, or train from scratch")
        if about.get("checksum") != checksum(about):
            raise ValueError("its checksum does not match")
    except (ValueError, RecursionError) as error:
        raise ModelError(f"its metadata is illegal: {error}") from error
    wanted = ("format", "config", "embed_scale", "head_scale", "head_tap", "vocab", "provenance",
              "sha256")
    if missing := [key for key in wanted if key not in about]:
        raise ModelError(f"its metadata lacks {', '.join(missing)}")
    if about["format"] != FORMAT:
        raise ModelError(f"its format must be {FORMAT!r}, not {about['format']!r}")
    return about


def read_config(value: object) -> ModelConfig:
    """Return the shape that the metadata state."""
    names = [field.name for field in fields(ModelConfig)]
    if not isinstance(value, dict) or sorted(value) != sorted(names):
        raise ModelError(f"config must give {', '.join(names)}, not {value!r}")
    return ModelConfig(**{name: checked_integer(name, value[name], 1, 0xFFFF) for name in names})


def read_tensors(file: Any, config: ModelConfig) -> dict[str, NDArray[Any]]:
    """Return tensors by name; types and shapes are checked before any is read."""
    d, hidden = config.d_model, config.d_hidden
    present = set(file.keys())
    if len(present) < config.n_layers:
        # Said before names are made for as many layers as a damaged file asks for.
        raise ModelError(f"it has {len(present)} tensors, too few for {config.n_layers:,} layers")
    expected: dict[str, tuple[str, list[int]]] = {
        "embedding": ("U8", [config.vocab_size, -(-d // FILE_CODE.trits)]),
        "head_bias": ("I16", [config.vocab_size]),
    }
    for number in range(config.n_layers):
        part: dict[str, tuple[str, list[int]]] = {
            "scales": ("U16", [len(MATRICES)]),
            "taps": ("I8", [2, d]),
            "forget_bias": ("I8", [d]),
            "glu_tap": ("I8", [1]),
        }
        for name in MATRICES:
            rows, columns = matrix_shape(name, d, hidden)
            part[name] = ("U8", [rows, -(-columns // FILE_CODE.trits)])
        expected |= {f"layers.{number}.{name}": part[name] for name in LAYER_TENSORS}
    if present != set(expected):
        wrong = sorted(present ^ set(expected))[0]
        state = "lacks" if wrong in expected else "has an unknown"
        raise ModelError(f"it {state} tensor {wrong!r}")
    for name, (dtype, shape) in expected.items():
        part_of_file = file.get_slice(name)
        got = (part_of_file.get_dtype(), part_of_file.get_shape())
        if got != (dtype, shape):
            raise ModelError(f"tensor {name!r} must be {dtype} {shape}, not {got[0]} {got[1]}")
    return {name: file.get_tensor(name) for name in expected}
