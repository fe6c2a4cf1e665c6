"""Files that lie about themselves: refused with a sentence, in little memory, and nothing else."""

import json
import os
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trilight.hw.contract.imported import FORMATS
from trilight.sw.checkpoint.gguf import open_gguf
from trilight.sw.checkpoint.importer import import_checkpoint
from trilight.sw.checkpoint.model import ImportedModel
from trilight.sw.checkpoint.reader import Checkpoint
from trilight.sw.checkpoint.tensors import open_safetensors
from trilight.sw.checkpoint.tokens import read_tokenizer
from trilight.sw.errors import CheckpointError, ModelFileError

from .encoders import write_gguf
from .synthetic import Synthetic

MEMORY = 1 << 20
"""Bytes that a refusal may take: none of these files has as many."""


def refused(work: Callable[[], object], words: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=words):
            work()
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()


def safetensors(path: Path, header: bytes, length: int | None = None, data: int = 64) -> Path:
    size = len(header) if length is None else length
    path.write_bytes(size.to_bytes(8, "little") + header + bytes(data))
    return path


def entry(start: int, stop: int, kind: str = "U8") -> dict[str, Any]:
    return {"dtype": kind, "shape": [stop - start], "data_offsets": [start, stop]}


SAFETENSORS: dict[str, tuple[bytes, int | None, str]] = {
    "a header of exabytes": (b"{}", (1 << 64) - 1, "does not begin with a header"),
    "a header of gigabytes": (b"{}", 2 << 30, "does not begin with a header"),
    "a header longer than the file": (b"{}", 1 << 20, "its header alone has 1,048,576 bytes"),
    "overlap": (json.dumps({"a": entry(0, 20), "b": entry(19, 30)}).encode(), None,
                "tensors a and b overlap"),
    "one within another": (json.dumps({"a": entry(0, 60), "b": entry(8, 10)}).encode(), None,
                           "tensors a and b overlap"),
    "a name twice": (b'{"a": ' + json.dumps(entry(0, 4)).encode() + b', "a": '
                     + json.dumps(entry(4, 8)).encode() + b"}", None, "a name is there twice"),
    "beyond the end": (json.dumps({"a": entry(0, 1 << 40)}).encode(), None, "is truncated"),
    "backwards": (b'{"a": {"dtype": "U8", "shape": [4], "data_offsets": [8, 4]}}', None,
                  "are not -4 bytes"),
    "not a number": (b'{"a": {"dtype": "U8", "shape": [NaN], "data_offsets": [0, 4]}}', None,
                     "no natural number"),
    "a number of many digits": (b'{"a": {"dtype": "U8", "shape": [' + b"9" * 5000
                                + b'], "data_offsets": [0, 4]}}', None, "is no JSON"),
    "a shape that multiplies to a size": (
        b'{"a": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 0]}}',
        None, "are not 0 bytes"),
    "nested deeply": (b'{"a":' * 100_000, None, "is no JSON"),
    "a name of two lines": (json.dumps({"a\n": entry(0, 4)}).encode(), None,
                            "a name in its header is no text"),
}


@pytest.mark.parametrize("case", SAFETENSORS)
def test_safetensors(tmp_path: Path, case: str) -> None:
    header, length, words = SAFETENSORS[case]
    path = safetensors(tmp_path / "x.safetensors", header, length)
    refused(lambda: open_safetensors(path), words)


def gguf(*parts: bytes, tensors: int = 0, values: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, values) + b"".join(parts) + bytes(64)


def text(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(value) if length is None else length) + value


def info(name: bytes, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    return (text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
            + struct.pack("<IQ", kind, offset))


GGUF: dict[str, tuple[bytes, str]] = {
    "many values": (gguf(values=1 << 63), "promises 9,223,372,036,854,775,808 entries"),
    "many tensors": (gguf(tensors=1 << 40), "promises 1,099,511,627,776 entries"),
    "a key of exabytes": (gguf(text(b"", 1 << 62), values=1), "a text of 4,611,686"),
    "a text longer than the file": (gguf(text(b"k"), struct.pack("<I", 8), text(b"", 1000),
                                         values=1), "truncated within its head"),
    "an array of exabytes": (gguf(text(b"k"), struct.pack("<IIQ", 9, 0, 1 << 62), values=1),
                             "truncated within its head"),
    "an array whose size overflows": (
        gguf(text(b"k"), struct.pack("<IIQ", 9, 12, (1 << 61) + 1), values=1),
        "truncated within its head"),
    "many texts": (gguf(text(b"k"), struct.pack("<IIQ", 9, 8, 1 << 40), values=1),
                   "promises 1,099,511,627,776 entries"),
    "arrays in arrays": (gguf(text(b"k"), struct.pack("<I", 9),
                              *[struct.pack("<IQ", 9, 1)] * 50, values=1), "a value of type 9"),
    "an unknown type": (gguf(text(b"k"), struct.pack("<I", 99), values=1), "a value of type 99"),
    "dimensions": (gguf(text(b"t"), struct.pack("<I", 1 << 31), tensors=1), "2147483648 dim"),
    "a shape of exabytes": (gguf(info(b"t", (1 << 40, 1 << 40), 0, 0), tensors=1), "has shape"),
    "beyond the end": (gguf(info(b"t", (4,), 0, 1 << 50), tensors=1), "is truncated"),
    "overlap": (gguf(info(b"a", (8,), 0, 0), info(b"b", (4,), 0, 16), tensors=2),
                "tensors a and b overlap"),
    "a name twice": (gguf(info(b"a", (2,), 0, 0), info(b"a", (2,), 0, 32), tensors=2),
                     "tensor a is there twice"),
    "a name of two lines": (gguf(info(b"a\n", (4,), 0, 0), tensors=1), "name is no text"),
    "no alignment": (gguf(text(b"general.alignment"), struct.pack("<II", 4, 0), values=1),
                     "its alignment is 0"),
}


@pytest.mark.parametrize("case", GGUF)
def test_gguf(tmp_path: Path, case: str) -> None:
    data, words = GGUF[case]
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    refused(lambda: open_gguf(path), words)


def test_arrays_are_passed_by(tmp_path: Path) -> None:
    """A vocabulary in the metadata, as converters write it, is not kept."""
    path = tmp_path / "x.gguf"
    many = 20_000
    path.write_bytes(gguf(
        text(b"tokenizer.ggml.tokens"), struct.pack("<IIQ", 9, 8, many), text(b"word") * many,
        text(b"tokenizer.ggml.scores"), struct.pack("<IIQ", 9, 6, many), bytes(4 * many),
        text(b"general.architecture"), struct.pack("<I", 8), text(b"hgrn_bit"), values=3))
    tracemalloc.start()
    metadata = open_gguf(path).metadata
    assert tracemalloc.get_traced_memory()[1] < MEMORY
    tracemalloc.stop()
    assert metadata == {"tokenizer.ggml.tokens": None, "tokenizer.ggml.scores": None,
                        "general.architecture": "hgrn_bit"}


def test_the_package_gguf_reads_the_same(rng: np.random.Generator, tmp_path: Path) -> None:
    """A file by the format's own package, arrays and alignment included."""
    package = pytest.importorskip("gguf", reason="needs the package gguf")
    path = tmp_path / "x.gguf"
    writer = package.GGUFWriter(path, "hgrn_bit")
    writer.add_custom_alignment(64)
    writer.add_token_list([f"word {n}" for n in range(1000)])
    writer.add_token_scores([0.5] * 1000)
    tensors = {f"t{n}": rng.normal(size=(n + 1, 7)).astype(np.float32) for n in range(5)}
    for name, value in tensors.items():
        writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = open_gguf(path)
    assert found.metadata["general.architecture"] == "hgrn_bit"
    assert {name: tensor.floats().tolist() for name, tensor in found.tensors.items()} == {
        name: value.tolist() for name, value in tensors.items()}


@pytest.fixture
def folder(rng: np.random.Generator, tmp_path: Path) -> Path:
    made = Synthetic.random(rng, hidden=16, layers=1, inner=16, vocabulary=5)
    return made.write(tmp_path / "snapshots" / "abc", shards=2)


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "..", "a/b.safetensors",
                                  "", 3, None, "absent.safetensors", "\0"])
def test_shards_elsewhere(folder: Path, name: Any) -> None:
    """The index names files of the folder, and nothing else."""
    index = folder / "model.safetensors.index.json"
    names = json.loads(index.read_text())["weight_map"]
    index.write_text(json.dumps({"weight_map": names | {"model.norm.weight": name}}))
    with pytest.raises(CheckpointError, match=r"has no weight_map|names the shard|cannot be read"):
        Checkpoint(folder)


def test_links(folder: Path, tmp_path: Path) -> None:
    """Links stay within the checkpoint, or its repository in the cache of huggingface_hub."""
    shard = folder / "model-00001-of-00002.safetensors"
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    shard.rename(blobs / "0123")
    try:
        shard.symlink_to(Path("../../blobs/0123"))
    except OSError as error:
        pytest.skip(f"links cannot be made here: {error}")
    Checkpoint(folder)
    secret = tmp_path / "secret"
    secret.write_text("{}")
    tokenizer = folder / "tokenizer.json"
    for target in (secret, Path("../../secret"), Path("/dev/zero")):
        tokenizer.unlink(missing_ok=True)
        tokenizer.symlink_to(target)
        with pytest.raises(CheckpointError, match=r"tokenizer\.json is a link to .*, outside"):
            Checkpoint(folder)
    tokenizer.unlink()
    (folder / "real.json").write_text("{}")
    tokenizer.symlink_to("real.json")
    Checkpoint(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of POSIX")
@pytest.mark.parametrize("name", ["config.json", "model-00001-of-00002.safetensors",
                                  "model.safetensors.index.json"])
def test_what_is_no_file(folder: Path, name: str) -> None:
    """A pipe would be waited for."""
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(CheckpointError, match=r"is no file|is not in"):
        Checkpoint(folder)
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(CheckpointError, match=r"is no file|is not in"):
        Checkpoint(folder)


def test_files_that_are_too_large(folder: Path) -> None:
    """Sparse: they take no room, and are not read."""
    with (folder / "tokenizer.json").open("wb") as file:
        file.truncate(1 << 30)
    refused(lambda: read_tokenizer(folder), "which no tokenizer has")
    with (folder / "config.json").open("wb") as file:
        file.truncate(1 << 30)
    refused(lambda: Checkpoint(folder), "which no published checkpoint's has")


def test_matrices_wider_than_sums(rng: np.random.Generator, tmp_path: Path) -> None:
    maximum = ((1 << FORMATS.acc_bits - 1) - 1) // 127
    made = Synthetic.random(rng, hidden=2, layers=1, inner=maximum + 1, vocabulary=3)
    with pytest.raises(CheckpointError, match="8,257 columns, and sums of 21 bits hold 8,256"):
        import_checkpoint(Checkpoint(made.write(tmp_path / "c")), tmp_path / "m")
    made = Synthetic.random(rng, hidden=2, layers=1, inner=maximum, vocabulary=3)
    import_checkpoint(Checkpoint(made.write(tmp_path / "d")), tmp_path / "m")


def _metadata(path: Path) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    return header, json.loads(header["__metadata__"]["trilight"]), data[8 + size:]


@pytest.mark.parametrize(("change", "words"), [
    ({"shape": {"layers": 1 << 40, "hidden": 16, "inner": 16, "vocabulary": 5}},
     "too few tensors for 1,099,511,627,776 layers"),
    ({"shape": {"layers": 1, "hidden": 9000, "inner": 16, "vocabulary": 5}}, "9,000 columns"),
    ({"shape": {"layers": 1, "hidden": 16, "inner": 17, "vocabulary": 5}}, "must be U8"),
    ({"shape": 3}, "cannot be used"), ({"residual_frac": 1 << 40}, "fraction bits"),
    ({"residual_frac": "24"}, "fraction bits"), ({"version": 1}, "format version 1, not 2"),
    ({"sha256": "0" * 64}, "SHA-256")])
def test_imported_models_that_lie(folder: Path, tmp_path: Path, change: dict[str, Any],
                                  words: str) -> None:
    path = tmp_path / "m"
    import_checkpoint(Checkpoint(folder), path)
    header, about, tensors = _metadata(path)
    header["__metadata__"]["trilight"] = json.dumps(about | change)
    new = json.dumps(header).encode()
    path.write_bytes(len(new).to_bytes(8, "little") + new + tensors)
    with pytest.raises(ModelFileError, match=words):
        ImportedModel.load(path)


@pytest.mark.parametrize(("name", "at", "value"), [
    ("layers.0.i.scalars", 0, 513), ("layers.0.i.scalars", 1, 29), ("layers.0.i.scalars", 2, 1),
    ("head.scalars", 3, -(1 << 31)), ("layers.0.down.gain", 3, 1 << 21),
    ("layers.0.gate.norm", 0, -(1 << 18)), ("lower_bounds", 5, -1),
    ("lower_bounds", 5, (1 << FORMATS.sigmoid_bits) + 1)])
def test_integers_beyond_their_widths(folder: Path, tmp_path: Path, name: str, at: int,
                                      value: int) -> None:
    """With a true digest: only the widths tell."""
    path = tmp_path / "m"
    import_checkpoint(Checkpoint(folder), path)
    header, _, _ = _metadata(path)
    data = bytearray(path.read_bytes())
    begin = 8 + int.from_bytes(data[:8], "little") + header[name]["data_offsets"][0] + 4 * at
    data[begin:begin + 4] = value.to_bytes(4, "little", signed=True)
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=r"out of range|must be in"):
        ImportedModel.load(path, verify=False)


def test_a_packed_file_that_lies(rng: np.random.Generator, tmp_path: Path) -> None:
    """A gain of no finite number in a GGUF file is refused where it is read."""
    path = tmp_path / "x.gguf"
    write_gguf(path, {"t": ("F16", (2, 2), np.array([1, 2, np.nan, 4], np.float16).tobytes())})
    with pytest.raises(CheckpointError, match="1 numbers that are infinite or not a number"):
        open_gguf(path).tensors["t"].floats()
