"""The integers against the published forward pass in double precision, on checkpoints made here.

A float pass that is disturbed in the last bit flips a code sooner or later, and then differs as
much as any other; so single BitLinear layers are held tightly, each on the reference's own input,
and whole models loosely.
"""

import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trilight.hw.contract.imported import FORMATS
from trilight.sw.checkpoint.acceptance import compare, read_reference
from trilight.sw.checkpoint.importer import (
    fixed_point,
    import_checkpoint,
    make_matrix,
    mantissa,
    residual_fraction,
)
from trilight.sw.checkpoint.layout import GAINS
from trilight.sw.checkpoint.model import ImportedMatrix, ImportedModel, is_imported
from trilight.sw.checkpoint.reader import Checkpoint, TernaryMatrix
from trilight.sw.checkpoint.reference import (
    SIGMOID_TAIL,
    ImportedReference,
    Quantised,
    multiply,
    quantise,
    scale_rows,
    sigmoid,
    silu,
)
from trilight.sw.errors import CheckpointError, EvaluationError, ModelFileError, TokenError

from .synthetic import PROJECTIONS, FloatModel, Synthetic, rms, weight_quant

KINDS: dict[str, dict[str, Any]] = {
    "64 wide": {"hidden": 64, "layers": 2, "dtype": "float32"},
    "256 wide, bfloat16": {"hidden": 256, "layers": 4, "dtype": "bfloat16", "vocabulary": 300},
    "48 wide, tied, no bounds": {"hidden": 48, "layers": 3, "dtype": "float16", "tied": True,
                                 "bounds": False},
    "small embedding": {"hidden": 80, "layers": 2, "embedding": 0.02, "heads": 4, "inner": 200},
    "large embedding": {"hidden": 64, "layers": 2, "embedding": 300, "inner": 131},
    "wide gains": {"hidden": 96, "layers": 2, "spread": 0.8, "epsilon": 1e-5, "inner": 256},
    "zero rows": {"hidden": 64, "layers": 2, "zero_rows": 16, "inner": 192},
}
LIMITS = {"256 wide, bfloat16": 0.035}
"""Root mean square of the differences over the standard deviation of the logits; 0.02 elsewhere.

Sums of more columns have more codes that lie near a half.
"""


def make(rng: np.random.Generator, folder: Path, **kind: Any) -> tuple[Synthetic, ImportedModel]:
    made = Synthetic.random(rng, **kind)
    checkpoint = Checkpoint(made.write(folder / "checkpoint", shards=2))
    return made, import_checkpoint(checkpoint, folder / "model.safetensors")


def reference_file(rng: np.random.Generator, made: Synthetic, path: Path, sequences: int = 5,
                   positions: int = 24) -> Path:
    other, arrays = FloatModel(made), {}
    for number in range(sequences):
        ids = rng.integers(0, made.config["vocab_size"], positions)
        arrays |= {f"ids_{number}": ids, f"logits_{number}": other.feed(ids).astype(np.float32)}
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_whole_models(rng: np.random.Generator, tmp_path: Path, kind: str) -> None:
    made, model = make(rng, tmp_path, **KINDS[kind])
    path = reference_file(rng, made, tmp_path / "reference.npz")
    result = compare(model, read_reference(path, model.shape.vocabulary))
    assert result["rms_over_std"] <= LIMITS.get(kind, 0.02)
    assert result["top1"] >= 0.94
    assert result["saturations"] == 0
    assert [part["sequence"] for part in result["sequences"]] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("change", ["bounds", "gains", "norms", "rounding down"])
def test_a_wrong_forward_pass_would_be_seen(rng: np.random.Generator, tmp_path: Path,
                                            change: str) -> None:
    made, model = make(rng, tmp_path, hidden=64, layers=3)
    path = reference_file(rng, made, tmp_path / "reference.npz", 2)
    if change == "bounds":
        model = replace(model, lower_bounds=None)
    elif change == "gains":
        model = replace(model, layers=tuple(
            {name: replace(matrix, gain=np.full_like(matrix.gain, matrix.gain.max()))
             for name, matrix in layer.items()} for layer in model.layers))
    elif change == "norms":
        model = replace(model, layers=tuple(
            {**layer, "i": layer["f"], "f": layer["i"]} for layer in model.layers))
    else:
        model = replace(model, head=replace(model.head, weights=model.layers[0]["i"].weights[
            :, np.arange(model.head.rows) % 64]))
    result = compare(model, read_reference(path, model.shape.vocabulary))
    assert result["rms_over_std"] > 0.15


def own(made: Synthetic, name: str) -> ImportedMatrix:
    """A BitLinear layer alone: no norm before it is folded in."""
    codes, scale = weight_quant(made.tensors[f"{name}.weight"])
    return make_matrix(TernaryMatrix(codes.astype(np.int8), scale),
                       made.tensors[f"{name}.norm.weight"], None)


def layer_result(x: np.ndarray, matrix: ImportedMatrix) -> tuple[np.ndarray, np.ndarray]:
    """Codes and results of one layer for a vector in double precision."""
    fine = np.rint(x * 2.0**FORMATS.residual_frac).astype(np.int64)
    share = (len(x), 2 * FORMATS.residual_frac)
    quantised = quantise(fine, matrix, *share)
    sums = multiply(matrix, quantised.codes)
    return quantised.codes, sums * np.ldexp(float(quantised.mantissa), -quantised.fraction)


@pytest.mark.parametrize("kind", ["64 wide", "256 wide, bfloat16", "48 wide, tied, no bounds",
                                  "wide gains"])
def test_each_layer_on_the_reference_input(rng: np.random.Generator, kind: str) -> None:
    made = Synthetic.random(rng, **KINDS[kind])
    if made.config["tie_word_embeddings"]:
        made.tensors["lm_head.weight"] = made.tensors["model.embeddings.weight"]
    matrices: dict[str, ImportedMatrix] = {}
    differ, codes_in_all, worst = 0, 0, 0.0

    def probe(name: str, x: np.ndarray, q: np.ndarray, factor: float, out: np.ndarray) -> None:
        nonlocal differ, codes_in_all, worst
        matrix = matrices.setdefault(name, own(made, name))
        codes, result = layer_result(x, matrix)
        step = np.abs(codes - q)
        assert step.max() <= 1
        differ += int(np.count_nonzero(step))
        codes_in_all += len(q)
        if not step.any() and np.abs(out).max() > 0:
            worst = max(worst, float(np.abs(result - out).max() / np.abs(out).max()))

    other = FloatModel(made)
    other.probe = probe
    for _ in range(3):
        other.feed(rng.integers(0, made.config["vocab_size"], 24))
    assert codes_in_all > 10_000
    assert differ <= 2e-4 * codes_in_all
    assert worst <= 3e-4


@pytest.mark.parametrize("columns", [1, 4, 5, 6, 48, 331])
@pytest.mark.parametrize("exponent", [-40, -12, 0, 9])
def test_folded_norms(rng: np.random.Generator, columns: int, exponent: int) -> None:
    """A block's norm and a layer's norm, folded, against both written out."""
    codes = rng.integers(-1, 2, (17, columns), np.int8)
    gain, norm = rng.normal(1, 0.3, columns), rng.normal(1, 0.3, columns)
    matrix = make_matrix(TernaryMatrix(codes, 0.037), gain, norm)
    for _ in range(20):
        v = rng.integers(-1 << 30, 1 << 30, columns)
        h = v.astype(np.float64)
        x = rms(rms(h, norm, 0), gain, 1e-6)
        want = codes @ np.clip(np.round(x * 127 / np.abs(x).max()), -127, 127) * (
            np.abs(x).max() / 127 * 0.037)
        # The unit of the input cancels.
        moved = v << exponent if exponent >= 0 else v
        quantised = quantise(moved, matrix)
        got = multiply(matrix, quantised.codes) * np.ldexp(float(quantised.mantissa),
                                                           -quantised.fraction)
        assert np.abs(got - want).max() <= 3e-4 * max(np.abs(want).max(), 1e-3) + 0.04


def test_epsilon_shows_in_small_vectors(rng: np.random.Generator) -> None:
    """Mean squares near 1e-6: the epsilon halves them, and leaving it out would be seen."""
    codes = rng.integers(-1, 2, (64, 64), np.int8)
    matrix = make_matrix(TernaryMatrix(codes, 1.0), np.ones(64), None)
    for size in (1e-4, 1e-3, 1e-2):
        x = rng.normal(0, size, 64)
        fine = np.rint(x * 2.0**36).astype(np.int64)
        share = (64, 72)
        quantised = quantise(fine, matrix, *share)
        got = np.ldexp(float(quantised.mantissa), -quantised.fraction)
        want = np.abs(x).max() / np.sqrt((x * x).mean() + 1e-6) / 127
        assert got == pytest.approx(want, rel=3e-4)
        without = quantise(fine, matrix, 0)
        assert np.ldexp(float(without.mantissa), -without.fraction) > want * (1 + 1e-3)


def test_exact_ties_round_away_from_zero() -> None:
    """127 : 1 : 0.5, as whole numbers: half a step goes away from zero on both sides."""
    matrix = make_matrix(TernaryMatrix(np.ones((1, 6), np.int8), 1.0), np.ones(6), np.ones(6))
    codes = quantise(np.array([254, 1, -1, 3, -3, 253]) << 10, matrix).codes
    assert codes.tolist() == [127, 1, -1, 2, -2, 127]


def test_zero_and_single_values() -> None:
    matrix = make_matrix(TernaryMatrix(np.ones((3, 4), np.int8), 1.0), np.ones(4), np.ones(4))
    zero = quantise(np.zeros(4, np.int64), matrix)
    assert (zero.codes.tolist(), zero.mantissa) == ([0] * 4, 0)
    assert scale_rows(multiply(matrix, zero.codes), zero, 18).tolist() == [0] * 3
    for value in (1, -1, 1 << 35, -(1 << 35)):
        one = quantise(np.array([0, 0, value, 0]), matrix)
        assert one.codes.tolist() == [0, 0, 127 if value > 0 else -127, 0]
        # One value in four: it is twice its root mean square.
        result = 127 * np.ldexp(float(one.mantissa), -one.fraction)
        assert result == pytest.approx(2, rel=1e-5)


@pytest.mark.parametrize("columns", [5, 1024, 6912])
def test_sums_at_their_ends(columns: int) -> None:
    codes = np.ones((2, columns), np.int8)
    codes[1] = -1
    matrix = make_matrix(TernaryMatrix(codes, 1.0), np.ones(columns), None)
    sums = multiply(matrix, np.full(columns, 127))
    assert sums.tolist() == [127 * columns, -127 * columns]
    assert 127 * columns < 1 << FORMATS.acc_bits - 1


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 48), (70, 131), (9, 1000)])
def test_products(rng: np.random.Generator, rows: int, columns: int) -> None:
    codes = rng.integers(-1, 2, (rows, columns), np.int8)
    matrix = make_matrix(TernaryMatrix(codes, 1.0), np.ones(columns), None)
    q = rng.integers(-127, 128, columns)
    assert np.array_equal(multiply(matrix, q), codes.astype(np.int64) @ q)


def test_sigmoid_and_silu() -> None:
    inside = FORMATS.z_frac - FORMATS.table_steps
    entries, maximum = FORMATS.table_entries, 1 << FORMATS.z_bits - 1
    ends = np.arange(-entries - 2, entries + 3) << inside
    z = np.unique(np.concatenate([np.arange(-20 << FORMATS.z_frac, 20 << FORMATS.z_frac, 997),
                                  [-maximum, maximum - 1, 0, 1, -1], ends, ends - 1]))
    real = np.ldexp(z.astype(float), -FORMATS.z_frac)
    exact = 1 / (1 + np.exp(-real))
    step = 2.0**-FORMATS.sigmoid_bits
    got = np.ldexp(sigmoid(z).astype(float), -FORMATS.sigmoid_bits)
    # Half a step of the table, as much of the interpolation, a chord's distance from the curve
    # where it bends most, and what is cut off at the table's end.
    chord = 4.0**-FORMATS.table_steps / 8 / (6 * np.sqrt(3))
    bound = step + chord + np.exp(-float(FORMATS.table_range))
    assert np.abs(got - exact).max() <= bound
    product = np.ldexp(silu(z).astype(float), -FORMATS.z_frac)
    assert (np.abs(product - real * exact) <= np.abs(real) * bound + 2.0**-FORMATS.z_frac).all()
    assert np.array_equal(sigmoid(-z) + sigmoid(z), np.full(len(z), 1 << FORMATS.sigmoid_bits))
    assert (np.diff(sigmoid(z)) >= 0).all()
    assert len(SIGMOID_TAIL) == entries + 1
    assert SIGMOID_TAIL[0] == 1 << FORMATS.sigmoid_bits - 1
    assert SIGMOID_TAIL[-2] * step <= 2 * np.exp(-float(FORMATS.table_range))


@pytest.mark.parametrize("largest", [3e-5, 0.02, 0.999, 1.0, 4.0, 300.0, 6e4])
@pytest.mark.parametrize("bits", [19, 22])
def test_fixed_point(rng: np.random.Generator, largest: float, bits: int) -> None:
    values = rng.uniform(-largest, largest, 100)
    values[7] = -largest
    whole, frac = fixed_point(values, bits)
    assert np.abs(whole).max() < 1 << bits - 1
    assert np.abs(whole).max() >= (1 << bits - 2) - 1
    assert np.abs(np.ldexp(whole.astype(float), -frac) - values).max() <= 2.0**-frac / 2
    assert fixed_point(np.zeros(3), bits)[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("value", [1e-9, 0.03, 0.5, 1.0, np.nextafter(2, 0), 1234.5])
def test_mantissa(value: float) -> None:
    whole, frac = mantissa(value, 18)
    assert 1 << 17 <= whole < 1 << 18
    assert np.ldexp(float(whole), -frac) == pytest.approx(value, rel=2.0**-18)


@pytest.mark.parametrize(("largest", "bits"), [(0.1, 24), (4.0, 24), (31.0, 24), (100.0, 22),
                                               (6e4, 13), (0.0, 24)])
def test_residual_fraction(largest: float, bits: int) -> None:
    assert residual_fraction(largest) == bits
    assert largest * 2**bits < 1 << FORMATS.embedding_bits - 1
    assert 64 * largest * 2**bits < 1 << FORMATS.residual_bits - 1


def test_saturations_are_counted(rng: np.random.Generator, tmp_path: Path) -> None:
    made, model = make(rng, tmp_path, hidden=32, layers=2, inner=64)
    loud = replace(model, layers=tuple(
        {name: replace(matrix, scale_frac=matrix.scale_frac - (14 if name == "gate" else 0))
         for name, matrix in layer.items()} for layer in model.layers))
    path = reference_file(rng, made, tmp_path / "reference.npz", 2, 4)
    result = compare(loud, read_reference(path, model.shape.vocabulary))
    assert result["saturated"].keys() >= {"gate"}
    assert result["saturations"] == sum(result["saturated"].values()) > 0
    assert result["saturations"] == sum(part["saturations"] for part in result["sequences"])
    runner = ImportedReference(loud)
    runner.step(1)
    assert runner.saturations.total > 0
    runner.reset()
    assert runner.saturations.total == 0


def test_the_file_holds_everything(rng: np.random.Generator, tmp_path: Path) -> None:
    made = Synthetic.random(rng, hidden=48, layers=2, inner=100, vocabulary=30)
    checkpoint = Checkpoint(made.write(tmp_path / "c"))
    done: list[tuple[int, int]] = []
    path = tmp_path / "m.safetensors"
    model = import_checkpoint(checkpoint, path, tokenizer=b"{}", licence="apache-2.0",
                              progress=lambda *at: done.append(at))
    assert done == [(n, 13) for n in range(1, 14)]
    assert is_imported(path)
    assert not is_imported(tmp_path / "c" / "model.safetensors")
    again = ImportedModel.load(path)
    assert again.sha256 == model.sha256
    assert (again.tokenizer, again.about["licence"]) == (b"{}", "apache-2.0")
    for layer in range(2):
        for name in PROJECTIONS:
            fresh = checkpoint.matrix(name, layer)
            norm = checkpoint.gain(GAINS[name], layer) if name in GAINS else None
            want = make_matrix(fresh, checkpoint.gain(name, layer), norm)
            got = again.layers[layer][name]
            assert np.array_equal(got.weights, want.weights)
            assert np.array_equal(got.gain, want.gain)
            assert (got.norm is None) == (want.norm is None)
            assert want.norm is None or np.array_equal(got.norm, want.norm)
            assert (got.gain_frac, got.norm_frac, got.scale, got.scale_frac) == (
                want.gain_frac, want.norm_frac, want.scale, want.scale_frac)
    assert import_checkpoint(checkpoint, tmp_path / "n", tokenizer=b"{}",
                             licence="apache-2.0").sha256 == model.sha256


def test_damaged_model_files(rng: np.random.Generator, tmp_path: Path) -> None:
    make(rng, tmp_path, hidden=16, layers=1, inner=16, vocabulary=5)
    path = tmp_path / "model.safetensors"
    whole = bytearray(path.read_bytes())
    whole[-3] ^= 1
    path.write_bytes(whole)
    with pytest.raises(ModelFileError, match="its tensors have SHA-256"):
        ImportedModel.load(path)
    path.write_bytes(whole[:-5])
    with pytest.raises(ModelFileError, match="is truncated"):
        ImportedModel.load(path)
    with pytest.raises(ModelFileError, match="No such file"):
        ImportedModel.load(tmp_path / "absent")


def test_a_failed_import_leaves_what_was_there(rng: np.random.Generator, tmp_path: Path) -> None:
    made = Synthetic.random(rng, hidden=16, layers=1, inner=16, vocabulary=5)
    made.tensors["model.layers.0.mlp.down_proj.weight"][2, 2] = np.nan
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"older")
    with pytest.raises(CheckpointError, match="not a number"):
        import_checkpoint(Checkpoint(made.write(tmp_path / "c")), path)
    assert path.read_bytes() == b"older"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["c", "model.safetensors"]


def test_tokens_outside_the_vocabulary(rng: np.random.Generator, tmp_path: Path) -> None:
    _, model = make(rng, tmp_path, hidden=16, layers=1, inner=16, vocabulary=5)
    with pytest.raises(TokenError, match=r"tokens must be in \[0, 4\], not 5"):
        ImportedReference(model).step(5)


@contextmanager
def refused(words: str) -> Iterator[None]:
    with pytest.raises(EvaluationError, match=words):
        yield


def test_references_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.npz"
    with refused("cannot be read: No such file"):
        read_reference(path, 5)
    path.write_bytes(b"PK nothing")
    with refused(r"no \.npz file"):
        read_reference(path, 5)
    good = {"ids_0": np.arange(3), "logits_0": np.zeros((3, 5), np.float32)}
    for change, words in (({"ids_0": np.arange(3.0)}, "whole numbers"),
                          ({"ids_0": np.array([1, 2, 5])}, r"in \[0, 4\], not 1 \.\.\. 5"),
                          ({"logits_0": np.zeros((3, 4))}, r"shape \[3, 5\], not \[3, 4\]"),
                          ({"logits_0": np.full((3, 5), np.nan)}, "not finite"),
                          ({"ids_1": np.arange(3)}, "has ids_1 but no logits_1")):
        np.savez(path, **(good | change))
        with refused(words):
            read_reference(path, 5)
    np.savez(path, other=np.zeros(3))
    with refused("has no arrays ids_0, logits_0"):
        read_reference(path, 5)
    np.savez(path, q_0_000=np.zeros(3), **good)
    assert [sequence.number for sequence in read_reference(path, 5)] == [0]
    np.savez(path, ids_007=good["ids_0"], logits_007=good["logits_0"])
    assert [sequence.number for sequence in read_reference(path, 5)] == [7]
    with path.open("wb") as file:
        np.save(file, good["logits_0"])
    with refused(r"no \.npz file"):
        read_reference(path, 5)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ids_0.npy", b"3")
        archive.writestr("logits_0", b"4")
    with refused("ids_0 and logits_0 must be arrays"):
        read_reference(path, 5)


def test_scales_beyond_their_range() -> None:
    """Every sum but 0 leaves its range to the left, and vanishes to the right."""
    sums = np.array([0, 1, -1, 877_824])
    mantissa_ = 1 << FORMATS.scale_bits - 1
    far = scale_rows(sums, Quantised(sums, mantissa_, -100), FORMATS.z_frac)
    assert far.tolist() == [value * mantissa_ << FORMATS.max_left_shift for value in sums.tolist()]
    assert (np.abs(far[1:]) > 1 << FORMATS.residual_bits).all()
    assert scale_rows(sums, Quantised(sums, mantissa_, 100), FORMATS.z_frac).tolist() == [0] * 4
    widest = 877_824 * ((1 << FORMATS.scale_bits) - 1) << FORMATS.max_left_shift
    assert widest < 1 << 63


def test_an_import_holds_one_matrix_at_a_time(rng: np.random.Generator, tmp_path: Path) -> None:
    """Memory of an import is that of its largest matrix, however many layers there are."""
    peaks = []
    for layers in (1, 12):
        made = Synthetic.random(rng, hidden=128, layers=layers, inner=512, vocabulary=600)
        folder = made.write(tmp_path / f"{layers}", shards=3)
        tracemalloc.start()
        import_checkpoint(Checkpoint(folder), tmp_path / f"model {layers}")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Eleven layers more have eleven times 262,144 weights; their names and ranges take less.
    assert peaks[1] - peaks[0] < 11 * 262_144 / 5
