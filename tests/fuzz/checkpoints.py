"""Readers of checkpoints and of imported models: safetensors, GGUF, and the JSON beside them."""

import json
import struct
from collections.abc import Iterator
from functools import cache
from io import StringIO
from pathlib import Path
from random import Random
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from trilight.hw.support.terminal import Console
from trilight.sw.checkpoint.importer import import_checkpoint
from trilight.sw.checkpoint.model import ImportedModel
from trilight.sw.checkpoint.reader import Checkpoint
from trilight.sw.checkpoint.reference import ImportedReference
from trilight.sw.cli.imported import print_imported
from trilight.sw.errors import CheckpointError, ModelFileError

from .structure import join_header, mutate_json, mutate_value, split_header
from .target import Target, as_file

__all__ = ["CHECKPOINTS"]

FILES = {b"S": "model.safetensors", b"G": "model.gguf", b"C": "config.json",
         b"I": "model.safetensors.index.json", b"M": "imported"}
"""What an input's first byte says that the rest of it is; the other files are legal ones."""

TQ2_0 = gguf.GGMLQuantizationType.TQ2_0


def _config(hidden: int, inner: int, layers: int, vocabulary: int) -> dict[str, Any]:
    return {"architectures": ["HGRNBitForCausalLM"], "model_type": "hgrn_bit",
            "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
            "vocab_size": vocabulary, "num_heads": 1, "rms_norm_eps": 1e-6, "hidden_ratio": 4,
            "tie_word_embeddings": False, "use_lower_bound": False, "use_short_conv": False,
            "torch_dtype": "float16"}


SMALL = _config(6, 7, 2, 5)
PACKED = _config(256, 256, 1, 2)
"""As few columns as packed weights have, and fewer rows than they."""


def _tensors(config: dict[str, Any]) -> dict[str, NDArray[np.float16]]:
    """Tensors of a checkpoint, by name."""
    rng = np.random.default_rng(1)
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    vocabulary = config["vocab_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "model.embeddings.weight": (vocabulary, hidden), "model.norm.weight": (hidden,),
        "lm_head.weight": (vocabulary, hidden), "lm_head.norm.weight": (hidden,)}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for name in ("attn_norm", "mlp_norm", "attn.g_norm"):
            shapes[f"{prefix}{name}.weight"] = (hidden,)
        for name, rows, columns in (
                *((f"attn.{letter}_proj", hidden, hidden) for letter in "ifgo"),
                ("mlp.gate_proj", 2 * inner, hidden), ("mlp.down_proj", hidden, inner)):
            shapes[f"{prefix}{name}.weight"] = (rows, columns)
            shapes[f"{prefix}{name}.norm.weight"] = (columns,)
    return {name: rng.normal(1, 0.5, shape).astype(np.float16) for name, shape in shapes.items()}


@cache
def _folder() -> Path:
    return as_file(b"", "checkpoint/config.json").parent


def _fresh() -> Path:
    for path in _folder().iterdir():
        path.unlink()
    return _folder()


@cache
def _safetensors() -> bytes:
    return save(_tensors(SMALL))


@cache
def _gguf() -> bytes:
    """A file by the format's own package, its layer packed."""
    path = _fresh() / "model.gguf"
    writer = gguf.GGUFWriter(path, "hgrn_bit")
    for name, value in _tensors(PACKED).items():
        if "_proj.weight" in name:
            # Codes 0 only: what is fuzzed is the head, what follows stays.
            packed = gguf.quants.quantize(np.zeros(value.shape, np.float32), TQ2_0)
            writer.add_tensor(name, packed, raw_dtype=TQ2_0)
        else:
            writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


@cache
def _imported() -> bytes:
    path = as_file(b"", "imported-model")
    import_checkpoint(Checkpoint(_seeded()), path)
    parts = split_header(path.read_bytes())
    assert parts is not None
    # Without the room that is left for metadata.
    return join_header(*parts) or b""


def _parse(data: bytes) -> None:
    kind, rest = data[:1], data[1:]
    if kind not in FILES:
        raise CheckpointError("no kind of file")
    if kind == b"M":
        # The digest is what keeps the rest out of reach.
        _run(ImportedModel.load(as_file(rest, "imported-model"), verify=False))
        return
    if kind == b"G":
        # What follows the head is the seed's: larger than an input may be.
        whole, folder = _gguf(), _fresh()
        (folder / "config.json").write_text(json.dumps(PACKED))
        (folder / "model.gguf").write_bytes(rest + whole[len(rest):])
    else:
        folder = _seeded()
        (folder / FILES[kind]).write_bytes(rest)
    checkpoint = Checkpoint(folder)
    path = folder.parent / "imported-model"
    import_checkpoint(checkpoint, path)
    _run(ImportedModel.load(path))


def _run(model: ImportedModel) -> None:
    """Show a model as ``trilight info`` does, and pass a token through it."""
    print_imported(model, as_file(b"", "shown"), Console(file=StringIO()))
    if model.shape.layers * (model.shape.hidden + model.shape.inner) > 1000:
        return
    ImportedReference(model).step(0)


def _seeds() -> Iterator[bytes]:
    yield b"S" + _safetensors()
    yield b"C" + json.dumps(SMALL).encode()
    yield b"I" + json.dumps({"weight_map": dict.fromkeys(_tensors(SMALL), "model.safetensors")}
                            ).encode()
    yield b"M" + _imported()
    yield b"G" + _gguf()[:4096]


def _seeded() -> Path:
    """The folder with a legal checkpoint in it."""
    folder = _fresh()
    (folder / "config.json").write_text(json.dumps(SMALL))
    (folder / "model.safetensors").write_bytes(_safetensors())
    return folder


def _mutate(data: bytes, seed: int) -> bytes | None:
    kind, rest, rng = data[:1], data[1:], Random(seed)
    if kind in (b"C", b"I"):
        mutated = mutate_json(rest, seed)
        return None if mutated is None else kind + mutated
    if kind in (b"S", b"M"):
        return _mutate_header(kind, rest, rng)
    return _mutate_numbers(kind, rest, rng)


def _mutate_header(kind: bytes, rest: bytes, rng: Random) -> bytes | None:
    if (parts := split_header(rest)) is None:
        return None
    header, tensors = parts
    about = None
    if kind == b"M" and rng.random() < 0.5:
        try:
            about = mutate_value(json.loads(header["__metadata__"]["trilight"]), rng)
            header["__metadata__"]["trilight"] = json.dumps(about)
        except (ValueError, KeyError, TypeError):
            return None
    if about is None:
        header = mutate_value(header, rng)
    joined = join_header(header, tensors)
    return None if joined is None else kind + joined


def _mutate_numbers(kind: bytes, rest: bytes, rng: Random) -> bytes | None:
    """One of a head's whole numbers becomes another."""
    if len(rest) < 32:
        return None
    form = struct.Struct(rng.choice(("<I", "<Q")))
    at = rng.randrange(4, min(len(rest), 3000) - form.size)
    number = rng.choice((0, 1, 2, 8, 9, 34, 35, 42, 255, 256, 1 << 31, (1 << 32) - 1))
    return kind + rest[:at] + form.pack(number) + rest[at + form.size:]


CHECKPOINTS = Target(
    what="checkpoints and imported models (Checkpoint, ImportedModel.load)", parse=_parse,
    refusals=(CheckpointError, ModelFileError), seeds=_seeds, mutate=_mutate, longest=16384)
