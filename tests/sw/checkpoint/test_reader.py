import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from trilight.sw.checkpoint.config import CheckpointConfig
from trilight.sw.checkpoint.reader import Checkpoint
from trilight.sw.checkpoint.shape import SHAPES
from trilight.sw.errors import CheckpointError

from .synthetic import PROJECTIONS, FloatModel, Synthetic, to_bytes, weight_quant

KINDS: dict[str, dict[str, Any]] = {
    "float32": {"hidden": 64, "layers": 2, "dtype": "float32"},
    "bfloat16 in shards": {"hidden": 256, "layers": 2, "dtype": "bfloat16"},
    "float16, tied, no bounds": {"hidden": 48, "layers": 3, "dtype": "float16", "tied": True,
                                 "bounds": False, "heads": 4},
    "narrow": {"hidden": 10, "layers": 1, "inner": 7, "vocabulary": 3, "zero_rows": 2},
}


@pytest.mark.parametrize("kind", KINDS)
def test_codes_gains_and_bounds(rng: np.random.Generator, tmp_path: Path, kind: str) -> None:
    made = Synthetic.random(rng, **KINDS[kind])
    checkpoint = Checkpoint(made.write(tmp_path, shards=3 if "shards" in kind else 1))
    other = FloatModel(made)
    for layer in range(checkpoint.shape.layers):
        for name, place in PROJECTIONS.items():
            key = f"model.layers.{layer}.{place}"
            matrix = checkpoint.matrix(name, layer)
            codes, scale = weight_quant(made.tensors[f"{key}.weight"])
            assert np.array_equal(matrix.codes, codes)
            assert matrix.scale == scale
            assert np.array_equal(checkpoint.gain(name, layer), made.tensors[f"{key}.norm.weight"])
        for name in ("attn_norm", "mlp_norm", "attn.g_norm"):
            assert np.array_equal(checkpoint.gain(name.removeprefix("attn."), layer),
                                  made.tensors[f"model.layers.{layer}.{name}.weight"])
    head = checkpoint.matrix("head")
    assert np.array_equal(head.codes, other.ternary["lm_head.weight"][0])
    assert np.array_equal(np.concatenate(list(checkpoint.embedding())),
                          made.tensors["model.embeddings.weight"])
    bounds = checkpoint.lower_bounds()
    assert (bounds is None) == (other.bounds is None)
    if bounds is not None:
        assert np.allclose(bounds, other.bounds, rtol=0, atol=1e-15)
        assert (bounds[0] == 0).all()


def test_the_files_are_what_the_library_reads(rng: np.random.Generator, tmp_path: Path) -> None:
    """The generator's own writer against the safetensors library."""
    made = Synthetic.random(rng, hidden=16, layers=1, inner=16, vocabulary=5)
    made.write(tmp_path)
    with safe_open(tmp_path / "model.safetensors", framework="numpy") as file:
        assert set(file.keys()) == set(made.tensors)
        for name, value in made.tensors.items():
            assert np.array_equal(file.get_tensor(name), value)


def test_zero_matrix_and_exact_ties(rng: np.random.Generator, tmp_path: Path) -> None:
    made = Synthetic.random(rng, hidden=16, layers=1, inner=16, vocabulary=5)
    made.tensors["model.layers.0.attn.i_proj.weight"][:] = 0
    # The mean is 1, so that 0.5 lies halfway and goes to the even 0; 1.5 goes to 2, clipped to 1.
    made.tensors["model.layers.0.attn.f_proj.weight"][:] = np.where(
        np.arange(256).reshape(16, 16) % 2, 0.5, 1.5)
    checkpoint = Checkpoint(made.write(tmp_path))
    assert not checkpoint.matrix("i", 0).codes.any()
    assert checkpoint.matrix("i", 0).scale == pytest.approx(1e-5)
    ties = checkpoint.matrix("f", 0)
    assert np.array_equal(ties.codes, np.where(np.arange(256).reshape(16, 16) % 2, 0, 1))


def test_weights_of_many_rows_are_read_in_parts(rng: np.random.Generator, tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    made = Synthetic.random(rng, hidden=32, layers=1, inner=20, vocabulary=50)
    whole = Checkpoint(made.write(tmp_path))
    once = [whole.matrix(name, 0) for name in PROJECTIONS]
    monkeypatch.setattr("trilight.sw.checkpoint.reader._ROWS_AT_A_TIME", 100)
    for matrix, name in zip(once, PROJECTIONS, strict=True):
        parts = whole.matrix(name, 0)
        assert np.array_equal(parts.codes, matrix.codes)
        assert parts.scale == matrix.scale


@pytest.mark.parametrize(("hidden", "inner"), [(64, 256), (256, 768), (1024, 2816), (2048, 5632),
                                               (2560, 6912)])
def test_null_intermediate_size(hidden: int, inner: int) -> None:
    config = CheckpointConfig.from_json({
        "model_type": "hgrn_bit", "hidden_size": hidden, "num_hidden_layers": 2, "vocab_size": 9,
        "intermediate_size": None, "num_heads": None, "hidden_ratio": None})
    assert config.shape.inner == inner


def test_published_shapes() -> None:
    weights = {name: shape.ternary_weights for name, shape in SHAPES.items()}
    assert weights == {"370M": 341_049_344, "1.3B": 1_298_661_376, "2.7B": 2_619_473_920}
    assert [shape.products for shape in SHAPES.values()] == [145, 145, 193]


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "architecture": ({"architectures": ["BitNetForCausalLM"], "model_type": "bitnet"},
                     "is of BitNetForCausalLM, a BitNet transformer"),
    "LLaMA": ({"architectures": ["LlamaForCausalLM"]}, "is of LlamaForCausalLM, a LLaMA"),
    "no architecture": ({"architectures": None, "model_type": None}, "no named architecture"),
    "short convolution": ({"use_short_conv": True}, "use_short_conv is true"),
    "heads": ({"num_heads": 5}, "num_heads is 5, which does not divide hidden_size 16"),
    "expanded state": ({"expand_ratio": 2}, "expand_ratio must be 1, not 2"),
    "activation": ({"hidden_act": "gelu"}, "hidden_act must be swish, not 'gelu'"),
    "epsilon": ({"rms_norm_eps": "small"}, "must be a number from 0 to 1, not 'small'"),
    "a large epsilon": ({"rms_norm_eps": 10**400}, "rms_norm_eps must be a number from 0 to 1"),
    "layers": ({"num_hidden_layers": 0}, "num_hidden_layers must be a positive integer, not 0"),
    "too many layers": ({"num_hidden_layers": 1 << 30}, "too few for the 1,073,741,824 layers"),
    "more layers": ({"num_hidden_layers": 2}, r"tensor model\.layers\.1\S+ is missing"),
    "size": ({"hidden_size": None}, "hidden_size must be a positive integer, not None"),
    "ratio": ({"intermediate_size": None, "hidden_ratio": "4"}, "hidden_ratio must be a positive"),
    "inner": ({"intermediate_size": 32}, r"must have shape \[\d+(, \d+)?\] by config\.json, not"),
    "vocabulary": ({"vocab_size": 6}, r"must have shape \[6, 16\] by config\.json, not \[5, 16\]"),
    "flag": ({"use_lower_bound": "yes"}, "use_lower_bound must be true or false, not 'yes'"),
    "no bounds": ({"use_lower_bound": False}, r"model\.lower_bounds is in model\.safetensors and"),
    "tied": ({"tie_word_embeddings": True}, "says that head and embedding are tied"),
    "packing": ({"quantization_config": {"quant_method": "gptq"}}, "method 'gptq' is unknown"),
    "class": ({"quantization_config": {"quant_method": "bitnet", "linear_class": "x"}},
              "linear_class 'x' is unknown"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_configs_that_are_refused(rng: np.random.Generator, tmp_path: Path, case: str) -> None:
    change, words = CONFIGS[case]
    made = Synthetic.random(rng, hidden=16, layers=1, inner=16, vocabulary=5)
    made.config |= change
    made.write(tmp_path)
    with pytest.raises(CheckpointError, match=words):
        Checkpoint(tmp_path)


Damage = Callable[[Synthetic], None]


def without(name: str) -> Damage:
    def change(made: Synthetic) -> None:
        del made.tensors[name]
    return change


def put(name: str, value: np.ndarray) -> Damage:
    def change(made: Synthetic) -> None:
        made.tensors[name] = value.astype(np.float32)
    return change


def typed(name: str, kind: str, dtype: Any) -> Damage:
    def change(made: Synthetic) -> None:
        made.replaced[name] = (kind, made.tensors[name].astype(dtype))
    return change


TENSORS: dict[str, tuple[Damage, str]] = {
    "missing": (without("model.layers.0.attn.f_proj.norm.weight"),
                r"model\.layers\.0\.attn\.f_proj\.norm\.weight is missing from"),
    "no head": (without("lm_head.weight"), r"lm_head\.weight is missing"),
    "no bounds": (without("model.lower_bounds"), r"model\.lower_bounds is missing"),
    "surplus": (put("model.layers.0.attn.q_conv1d.weight", np.zeros(4)),
                r"q_conv1d\.weight is in model\.safetensors and no part of a model"),
    "a layer more": (put("model.layers.1.attn_norm.weight", np.zeros(16)), "no part of a model"),
    "shape": (put("model.norm.weight", np.zeros(17)), r"must have shape \[16\] by .* not \[17\]"),
    "transposed": (put("model.layers.0.mlp.down_proj.weight", np.zeros((24, 16))),
                   r"must have shape \[16, 24\] by config\.json, not \[24, 16\]"),
    "type": (typed("model.norm.weight", "F64", np.float64), "is of type F64"),
    "integers": (typed("model.norm.weight", "I32", np.int32), "is of type I32"),
}


@pytest.mark.parametrize("case", TENSORS)
def test_tensors_that_are_refused(rng: np.random.Generator, tmp_path: Path, case: str) -> None:
    damage, words = TENSORS[case]
    made = Synthetic.random(rng, hidden=16, layers=1, inner=24, vocabulary=5)
    damage(made)
    made.write(tmp_path)
    with pytest.raises(CheckpointError, match=words):
        Checkpoint(tmp_path)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite(rng: np.random.Generator, tmp_path: Path, dtype: str,
                                     value: float) -> None:
    made = Synthetic.random(rng, hidden=16, layers=1, inner=16, vocabulary=5, dtype=dtype)
    made.tensors["model.layers.0.attn.o_proj.weight"][3, 4] = value
    made.tensors["model.layers.0.attn.o_proj.norm.weight"][3] = value
    checkpoint = Checkpoint(made.write(tmp_path))
    with pytest.raises(CheckpointError, match="has 1 numbers that are infinite or not a number"):
        checkpoint.matrix("o", 0)
    with pytest.raises(CheckpointError, match=r"o_proj\.norm\.weight in model\.safetensors has 1"):
        checkpoint.gain("o", 0)


def test_a_tied_head_may_be_written_out(rng: np.random.Generator, tmp_path: Path) -> None:
    made = Synthetic.random(rng, hidden=16, layers=1, inner=16, vocabulary=5, tied=True)
    made.tensors["lm_head.weight"] = made.tensors["model.embeddings.weight"]
    Checkpoint(made.write(tmp_path))


def test_truncated_files(rng: np.random.Generator, tmp_path: Path) -> None:
    made = Synthetic.random(rng, hidden=16, layers=1, inner=16, vocabulary=5)
    made.write(tmp_path, shards=2)
    path = tmp_path / "model-00002-of-00002.safetensors"
    whole = path.read_bytes()
    for length, words in ((0, "is empty"), (5, "no whole safetensors"), (100, "is truncated"),
                          (len(whole) - 1, r"is truncated: its header promises [\d,]+ bytes")):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=words):
            Checkpoint(tmp_path)
    path.unlink()
    with pytest.raises(CheckpointError, match="names the shard model-00002-of-00002"):
        Checkpoint(tmp_path)


def test_shards_of_different_checkpoints(rng: np.random.Generator, tmp_path: Path) -> None:
    made = Synthetic.random(rng, hidden=16, layers=1, inner=16, vocabulary=5)
    made.write(tmp_path, shards=2)
    index = tmp_path / "model.safetensors.index.json"
    names = json.loads(index.read_text())["weight_map"]
    first = next(iter(names))
    index.write_text(json.dumps({"weight_map": names | {
        first: "model-00002-of-00002.safetensors"}}))
    with pytest.raises(CheckpointError, match="says that tensor"):
        Checkpoint(tmp_path)
    index.write_text(json.dumps({"weight_map": {first: "../model.safetensors"}}))
    with pytest.raises(CheckpointError, match="has no weight_map"):
        Checkpoint(tmp_path)
    index.unlink()
    # Without an index every file counts, in any order.
    Checkpoint(tmp_path)
    (tmp_path / "copy.safetensors").write_bytes(
        (tmp_path / "model-00001-of-00002.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=r"is in copy\.safetensors and in model-00001"):
        Checkpoint(tmp_path)


def test_folders_without_a_checkpoint(rng: np.random.Generator, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is no folder"):
        Checkpoint(tmp_path / "absent")
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read: No such file"):
        Checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="is no JSON"):
        Checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(CheckpointError, match="must hold a JSON object, not list"):
        Checkpoint(tmp_path)
    made = Synthetic.random(rng, hidden=16, layers=1, inner=16, vocabulary=5)
    made.write(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"has pytorch_model\.bin but no \.safetensors file"):
        Checkpoint(tmp_path)


def test_damaged_headers(rng: np.random.Generator, tmp_path: Path) -> None:
    made = Synthetic.random(rng, hidden=16, layers=1, inner=16, vocabulary=5)
    made.write(tmp_path)
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    for header, words in ((b"[]", "begin with a header"), (b"{", "header is no JSON"),
                          (b'{"a": 1}', "no whole safetensors file: tensor a"),
                          (b'{"a": {"dtype": "F8", "shape": [], "data_offsets": [0, 1]}}',
                           "is of type F8"),
                          (b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',
                           r"\[2\] of F32 are not 4 bytes"),
                          (b'{"__metadata__": 3}', "metadata is no object")):
        path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
        with pytest.raises(CheckpointError, match=words):
            Checkpoint(tmp_path)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[rng.integers(0, length + 8)] = rng.integers(0, 256)
        path.write_bytes(damaged)
        with suppress(CheckpointError):
            Checkpoint(tmp_path)


def test_bfloat16_rounds_to_nearest() -> None:
    """The generator's own conversion: exact values stay, ties go to even."""
    values = np.array([1, -2.5, 1 + 2**-8, 1 + 3 * 2**-8, 3e38], np.float32)
    got = (np.frombuffer(to_bytes(values, "bfloat16"), np.uint16).astype(np.uint32) << 16).view(
        np.float32)
    assert got[:4].tolist() == [1, -2.5, 1, 1 + 4 * 2**-8]
    assert got[4] == pytest.approx(3e38, rel=2**-8)


def test_pages_of_a_large_file_are_let_go(rng: np.random.Generator, tmp_path: Path) -> None:
    """What has been read of a checkpoint does not stay in memory."""
    smaps = Path("/proc/self/smaps")
    if not smaps.exists():
        pytest.skip("only Linux tells which pages of a file are in memory")
    made = Synthetic.random(rng, hidden=256, layers=3, inner=1024, vocabulary=50)
    checkpoint = Checkpoint(made.write(tmp_path / "c"))
    for layer in range(3):
        for name in PROJECTIONS:
            checkpoint.matrix(name, layer)
    size = (tmp_path / "c" / "model.safetensors").stat().st_size
    resident, of_it = 0, False
    for line in smaps.read_text().splitlines():
        if "-" in line.split()[0]:
            of_it = line.endswith("c/model.safetensors")
        elif of_it and line.startswith("Rss:"):
            resident += int(line.split()[1]) << 10
    assert resident < size / 10
