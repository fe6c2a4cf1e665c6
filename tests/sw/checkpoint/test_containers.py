import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from trilight.sw.checkpoint.containers import BLOCKS, decode_i2_s, decode_two_bit_rows
from trilight.sw.checkpoint.gguf import open_gguf
from trilight.sw.checkpoint.reader import Checkpoint
from trilight.sw.errors import CheckpointError

from .encoders import (
    encode_hugging_face,
    encode_i2_s,
    encode_q2_0,
    encode_tq1_0,
    encode_tq2_0,
    write_gguf,
)
from .synthetic import PROJECTIONS, Synthetic, to_bytes, weight_quant

SCALE = 0.037109375  # a 16-bit float

ENCODERS = {
    "TQ1_0": encode_tq1_0,
    "TQ2_0": encode_tq2_0,
    "Q2_0/64": lambda codes, scale: encode_q2_0(codes, scale, 64),
    "Q2_0/128": lambda codes, scale: encode_q2_0(codes, scale, 128),
}


def ternary(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    return rng.integers(-1, 2, (rows, columns), np.int8)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize(("rows", "columns"), [(1, 256), (7, 768), (64, 512)])
def test_blocks_decode_to_their_codes(rng: np.random.Generator, name: str, rows: int,
                                      columns: int) -> None:
    codes = ternary(rng, rows, columns)
    raw = np.frombuffer(ENCODERS[name](codes, SCALE), np.uint8)
    got, scales = BLOCKS[name].decode(raw, rows, columns)
    assert np.array_equal(got, codes)
    assert (scales == np.float32(SCALE)).all()


@pytest.mark.parametrize("name", ["TQ1_0", "TQ2_0"])
def test_ggml_agrees(rng: np.random.Generator, name: str) -> None:
    """The maker's own package as a third opinion."""
    quants = pytest.importorskip("gguf.quants", reason="needs the package gguf")
    gguf = pytest.importorskip("gguf", reason="needs the package gguf")
    codes = ternary(rng, 5, 512)
    codes[:, ::256] = 1  # so that every block has the scale
    raw = quants.quantize(codes.astype(np.float32) * np.float32(SCALE),
                          gguf.GGMLQuantizationType[name])
    got, scales = BLOCKS[name].decode(raw.reshape(-1), 5, 512)
    assert np.array_equal(got, codes)
    assert (scales == np.float32(SCALE)).all()
    assert raw.tobytes() == ENCODERS[name](codes, SCALE)


def test_golden_vectors() -> None:
    """One block each, by hand: weights 1, 0, -1, 1 and then zeros."""
    codes = np.zeros((1, 256), np.int8)
    codes[0, :4] = (1, 0, -1, 1)
    two = BLOCKS["TQ2_0"].decode(np.array(
        [0x56, 0x55, 0x54, 0x56, *[0x55] * 60, 0x00, 0x3C], np.uint8), 1, 256)
    assert np.array_equal(two[0], codes)
    small = BLOCKS["Q2_0/64"].decode(np.array([0x00, 0x3C, 0x86 + 0x00, *[0x55] * 15], np.uint8),
                                     1, 64)
    assert small[0][0, :5].tolist() == [1, 0, -1, 1, 0]
    wide, scale = decode_i2_s(np.array(
        [0x95, 0x55, 0x15, 0x95, *[0x55] * 28, *struct.pack("<f", 2.5)], np.uint8), 1, 128)
    assert np.array_equal(wide, codes[:, :128])
    assert scale.item() == 2.5
    # transformers documents this one: two rows of bytes, eight of weights.
    rows = decode_two_bit_rows(np.array([[0b10100001, 0b00011000], [0b10010000, 0b00001010]],
                                        np.uint8), 8)
    assert rows.tolist() == [[0, -1], [-1, 1], [-1, 1], [-1, 1], [1, 0], [0, -1], [1, -1], [1, -1]]


@pytest.mark.parametrize("rows", [1, 3, 4, 5, 6, 8, 9])
def test_hugging_face_rows(rng: np.random.Generator, rows: int) -> None:
    codes = ternary(rng, rows, 7)
    assert np.array_equal(decode_two_bit_rows(encode_hugging_face(codes), rows), codes)


def test_i2_s(rng: np.random.Generator) -> None:
    codes = ternary(rng, 6, 192)
    got, scale = decode_i2_s(np.frombuffer(encode_i2_s(codes, SCALE), np.uint8), 6, 192)
    assert np.array_equal(got, codes)
    assert scale.item() == np.float32(SCALE)


@pytest.mark.parametrize("name", ["TQ2_0", "Q2_0/64", "Q2_0/128"])
def test_a_code_that_is_not_ternary_is_refused(rng: np.random.Generator, name: str) -> None:
    raw = bytearray(ENCODERS[name](ternary(rng, 1, 256), SCALE))
    raw[5] |= 3
    with pytest.raises(CheckpointError, match=r"codes stand for \+2, so its weights are not "
                                              "ternary"):
        BLOCKS[name].decode(np.frombuffer(bytes(raw), np.uint8), 1, 256)


def ggml(made: Synthetic, folder: Path, kind: str) -> Path:
    """The checkpoint as a GGUF file, its projections packed; what they hold becomes the model."""
    encoders = {"TQ1_0": encode_tq1_0, "TQ2_0": encode_tq2_0, "I2_S": encode_i2_s,
                "Q2_0": lambda codes, scale: encode_q2_0(codes, scale, 128)}
    made.write(folder)
    (folder / "model.safetensors").unlink()
    tensors = {}
    for name, value in made.tensors.items():
        if name.endswith("proj.weight"):
            codes, scale = weight_quant(value)
            rounded = float(np.float32(scale) if kind == "I2_S" else np.float16(scale))
            made.tensors[name] = (codes * rounded).astype(np.float32)
            tensors[name] = (kind, value.shape, encoders[kind](codes.astype(np.int8), rounded))
        else:
            tensors[name] = ("F32", value.shape, to_bytes(value, "float32"))
    write_gguf(folder / "model.gguf", tensors)
    return folder


@pytest.mark.parametrize("kind", ["TQ1_0", "TQ2_0", "I2_S", "Q2_0"])
def test_gguf_checkpoint(rng: np.random.Generator, tmp_path: Path, kind: str) -> None:
    made = Synthetic.random(rng, hidden=256, layers=1, inner=256, vocabulary=20)
    checkpoint = Checkpoint(ggml(made, tmp_path / "c", kind))
    for name, place in PROJECTIONS.items():
        matrix = checkpoint.matrix(name, 0)
        stored = made.tensors[f"model.layers.0.{place}.weight"]
        assert np.array_equal(matrix.codes, np.sign(stored))
        assert matrix.scale == pytest.approx(float(np.abs(stored).max()), rel=1e-7)
    assert "F32" in checkpoint.container


def packed(rng: np.random.Generator, folder: Path, linear_class: str) -> Synthetic:
    made = Synthetic.random(rng, hidden=48, layers=2, vocabulary=33)
    made.config["quantization_config"] = {"quant_method": "bitnet", "linear_class": linear_class,
                                          "quantization_mode": "offline"}
    for name, value in list(made.tensors.items()):
        if name.endswith("proj.weight"):
            codes, scale = weight_quant(value)
            made.replaced[name] = ("U8", encode_hugging_face(codes.astype(np.int8)))
            stored = 1 / scale if linear_class == "bitlinear" else scale
            made.replaced[f"{name}_scale"] = ("F32", np.array([stored], np.float32))
    made.write(folder)
    return made


@pytest.mark.parametrize("linear_class", ["bitlinear", "autobitlinear"])
def test_the_config_decides_which_way_a_scale_works(rng: np.random.Generator, tmp_path: Path,
                                                    linear_class: str) -> None:
    made = packed(rng, tmp_path, linear_class)
    checkpoint = Checkpoint(tmp_path)
    for layer in range(2):
        for name, place in PROJECTIONS.items():
            codes, scale = weight_quant(made.tensors[f"model.layers.{layer}.{place}.weight"])
            matrix = checkpoint.matrix(name, layer)
            assert np.array_equal(matrix.codes, codes)
            assert matrix.scale == pytest.approx(scale, rel=1e-6)


def test_packed_weights_need_a_config(rng: np.random.Generator, tmp_path: Path) -> None:
    made = packed(rng, tmp_path, "bitlinear")
    del made.config["quantization_config"]
    made.write(tmp_path)
    with pytest.raises(CheckpointError, match="packing is unknown"):
        Checkpoint(tmp_path)


def test_blocks_with_scales_of_their_own_are_refused(rng: np.random.Generator,
                                                     tmp_path: Path) -> None:
    made = Synthetic.random(rng, hidden=256, layers=1, inner=256, vocabulary=20)
    folder = ggml(made, tmp_path / "c", "TQ2_0")
    raw = bytearray((folder / "model.gguf").read_bytes())
    weights = open_gguf(folder / "model.gguf").tensors["model.layers.0.attn.i_proj.weight"]
    # The first block's scale.
    raw[raw.index(weights.data[:66].tobytes()) + 64] ^= 1
    (folder / "model.gguf").write_bytes(raw)
    checkpoint = Checkpoint(folder)
    with pytest.raises(CheckpointError, match="different scales"):
        checkpoint.matrix("i", 0)


def test_damaged_gguf_is_refused(rng: np.random.Generator, tmp_path: Path) -> None:
    made = Synthetic.random(rng, hidden=256, layers=1, inner=256, vocabulary=20)
    path = ggml(made, tmp_path / "c", "TQ2_0") / "model.gguf"
    whole = path.read_bytes()
    for length in (3, 20, 200, len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"truncated|no GGUF|damaged"):
            Checkpoint(tmp_path / "c")
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[rng.integers(0, 3000)] = rng.integers(0, 256)
        path.write_bytes(damaged)
        with suppress(CheckpointError):
            checkpoint = Checkpoint(tmp_path / "c")
            for name in PROJECTIONS:
                checkpoint.matrix(name, 0)
                checkpoint.gain(name, 0)


def test_another_architecture_in_gguf(rng: np.random.Generator, tmp_path: Path) -> None:
    made = Synthetic.random(rng, hidden=256, layers=1, inner=256, vocabulary=20)
    folder = made.write(tmp_path / "c")
    (folder / "model.safetensors").unlink()
    write_gguf(folder / "model.gguf", {}, {"general.architecture": "bitnet-b1.58"})
    with pytest.raises(CheckpointError, match=r"architecture 'bitnet-b1\.58'"):
        Checkpoint(folder)
    assert open_gguf(folder / "model.gguf").tensors == {}


def test_weights_for_arm_are_refused(tmp_path: Path) -> None:
    write_gguf(tmp_path / "model.gguf", {"w": ("F32", (1, 4), bytes(16))})
    raw = (tmp_path / "model.gguf").read_bytes()
    # The type of the only tensor stands before its offset of 0.
    at = raw.index(struct.pack("<QQIQ", 4, 1, 0, 0)) + 16
    (tmp_path / "model.gguf").write_bytes(raw[:at] + struct.pack("<I", 38) + raw[at + 4:])
    with pytest.raises(CheckpointError, match="TL1, the form of ARM processors"):
        open_gguf(tmp_path / "model.gguf")
