"""Model files: what is written, what is read back, and that damage is always found."""

import dataclasses
import hashlib
import json
import math
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors import safe_open

from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.contract.trits import FILE_CODE
from trilight.sw.errors import ModelError, ModelFileError, TokenError, UnknownCharacterError
from trilight.sw.model import bundled as models
from trilight.sw.model.model import MATRICES, Matrix, Model
from trilight.sw.reference.model import ReferenceModel
from trilight.sw.reference.sampler import Sampler

CONFIG = ModelConfig(vocab_size=17, d_model=21, n_layers=2, d_hidden=13)
Tensors = dict[str, NDArray[Any]]
Tamper = Callable[[Tensors, dict[str, Any]], None]


@pytest.fixture
def model(seed: int) -> Model:
    base = Model.random(CONFIG, seed)
    return dataclasses.replace(base, vocab=("é", "€", *base.vocab[2:]),
                               provenance={"steps": 3, "nats_per_char": 1.5, "notes": ["ü"]})


@pytest.fixture
def path(model: Model, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    model.save(path)
    return path


def read_raw(path: Path) -> tuple[Tensors, dict[str, Any]]:
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    assert list(metadata) == ["trilight"]
    return safetensors.numpy.load_file(path), json.loads(metadata["trilight"])


def json_bytes(about: dict[str, Any]) -> bytes:
    """JSON as the documentation prescribes it for the checksum."""
    kept = {key: value for key, value in about.items() if key != "checksum"}
    return json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()


def rewrite(path: Path, tamper: Tamper) -> None:
    """Change a file's content and put its metadata checksum right again."""
    tensors, about = read_raw(path)
    tamper(tensors, about)
    about["checksum"] = hashlib.sha256(json_bytes(about)).hexdigest()
    safetensors.numpy.save_file(tensors, path, {"trilight": json.dumps(about)})


def parts(model: Model) -> list[Any]:
    """Everything in a model, as plain values."""
    layers = [[[m.trits.tolist(), m.scale] for m in layer.matrices.values()]
              + [layer.tap_now.tolist(), layer.tap_prev.tolist(), layer.forget_bias.tolist(),
                 layer.glu_tap]
              for layer in model.layers]
    return [model.config, model.vocab, model.embedding.tolist(), model.embed_scale,
            model.head_scale, model.head_tap, model.head_bias.tolist(), layers, model.provenance]


def with_layer(model: Model, **changes: Any) -> Model:
    """The model with a change in its last layer."""
    changed = dataclasses.replace(model.layers[-1], **changes)
    return dataclasses.replace(model, layers=(*model.layers[:-1], changed))


def test_round_trip(model: Model, path: Path) -> None:
    loaded = Model.load(path)
    assert parts(loaded) == parts(model)
    assert loaded.sha256 == model.sha256
    again = path.with_name("again")
    loaded.save(str(again))
    assert again.read_bytes() == path.read_bytes()


def test_file_is_as_documented(model: Model, path: Path) -> None:
    tensors, about = read_raw(path)
    columns = {**dict.fromkeys(MATRICES, CONFIG.d_model), "glu_down": CONFIG.d_hidden}

    def decoded(name: str, count: int) -> list[list[int]]:
        return [[t for code in row for t in FILE_CODE.to_trits[code]][:count]
                for row in tensors[name].tolist()]

    assert decoded("embedding", CONFIG.d_model) == model.embedding.tolist()
    order = ["embedding", "head_bias"]
    for number, layer in enumerate(model.layers):
        start = f"layers.{number}."
        for name, matrix in layer.matrices.items():
            assert decoded(start + name, columns[name]) == matrix.trits.tolist()
        assert tensors[start + "scales"].tolist() == [m.scale for m in layer.matrices.values()]
        assert tensors[start + "taps"].tolist() == [layer.tap_now.tolist(), layer.tap_prev.tolist()]
        assert tensors[start + "forget_bias"].tolist() == layer.forget_bias.tolist()
        assert tensors[start + "glu_tap"].tolist() == [layer.glu_tap]
        order += [start + name for name in (
            "scales", "taps", "forget_bias", "glu_tap", "forget", "candidate", "gate", "mix_out",
            "glu_gate", "glu_up", "glu_down")]
    assert sorted(tensors) == sorted(order)
    assert about["vocab"] == list(model.vocab)
    assert about["provenance"] == model.provenance
    assert about["checksum"] == hashlib.sha256(json_bytes(about)).hexdigest()

    digest = hashlib.sha256(struct.pack(
        "<7H", 17, 21, 2, 13, model.embed_scale, model.head_scale, model.head_tap))
    for name in order:
        digest.update(tensors[name].tobytes())
    assert about["sha256"] == model.sha256 == digest.hexdigest()


def flipped(trits: NDArray[np.int8]) -> NDArray[np.int8]:
    changed = trits.copy()
    changed[-1, -1] = (changed[-1, -1] + 2) % 3 - 1
    return changed


def test_digest_covers_every_number(model: Model) -> None:
    layer = model.layers[-1]
    changed = [
        dataclasses.replace(model, embedding=flipped(model.embedding)),
        dataclasses.replace(model, embed_scale=model.embed_scale + 1),
        dataclasses.replace(model, head_scale=model.head_scale - 1),
        dataclasses.replace(model, head_tap=model.head_tap - 1),
        dataclasses.replace(model, head_bias=model.head_bias[::-1]),
        dataclasses.replace(model, layers=model.layers[::-1]),
        *(with_layer(model, **{name: getattr(layer, name)[::-1]})
          for name in ("tap_now", "tap_prev", "forget_bias")),
        with_layer(model, glu_tap=layer.glu_tap - 1),
        *(with_layer(model, **{name: Matrix(flipped(matrix.trits), matrix.scale)})
          for name, matrix in layer.matrices.items()),
        *(with_layer(model, **{name: Matrix(matrix.trits, matrix.scale - 1)})
          for name, matrix in layer.matrices.items()),
    ]
    digests = {model.sha256, *(other.sha256 for other in changed)}
    assert len(digests) == 1 + len(changed)


def test_digest_is_of_numbers_only(model: Model) -> None:
    other = dataclasses.replace(model, vocab=model.vocab[::-1], provenance={})
    assert other.sha256 == model.sha256


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 9, 100, -5000, -1])
def test_truncated_file(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelFileError, match=r"is not a whole safetensors file"):
        Model.load(path)


def test_longer_file(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ModelFileError, match=r"is not a whole safetensors file"):
        Model.load(path)


def test_no_flipped_bit_goes_unnoticed(model: Model, path: Path, rng: np.random.Generator) -> None:
    data = path.read_bytes()
    (header,) = struct.unpack("<Q", data[:8])
    # All of the header's length, some of the header, and some of the tensors.
    positions = [*range(64), *rng.integers(64, 8 * (8 + header), 300).tolist(),
                 *rng.integers(8 * (8 + header), 8 * len(data), 200).tolist()]
    found = 0
    for position in positions:
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            # The case of an escape's hexadecimal digits is the only thing without meaning.
            assert parts(Model.load(path)) == parts(model)
        except ModelFileError:
            found += 1
    assert found >= len(positions) - 5


def test_file_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "nowhere"
    with pytest.raises(ModelFileError) as caught:
        Model.load(path)
    assert str(path) in str(caught.value)
    with pytest.raises(ModelFileError):
        Model.load(tmp_path)


def test_someone_elses_file(path: Path) -> None:
    safetensors.numpy.save_file({"weight": np.zeros(3)}, path)
    with pytest.raises(ModelFileError, match=r"has no 'trilight' metadata"):
        Model.load(path)


def set_metadata(**changes: Any) -> Tamper:
    return lambda tensors, about: about.update(changes)


def set_tensor(name: str, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Tamper:
    def tamper(tensors: Tensors, about: dict[str, Any]) -> None:
        tensors[name] = np.ascontiguousarray(change(tensors[name]))

    return tamper


def first_entry(value: int) -> Callable[[NDArray[Any]], NDArray[Any]]:
    def change(array: NDArray[Any]) -> NDArray[Any]:
        array.flat[0] = value
        return array

    return change


def without_tensor(tensors: Tensors, about: dict[str, Any]) -> None:
    del tensors["layers.1.gate"]


def extra_tensor(tensors: Tensors, about: dict[str, Any]) -> None:
    tensors["layers.2.gate"] = tensors["layers.1.gate"].copy()


def without_vocab(tensors: Tensors, about: dict[str, Any]) -> None:
    del about["vocab"]


SIZES = CONFIG.to_dict()


@pytest.mark.parametrize(("tamper", "message"), [
    (set_metadata(version=1), "it is of format version 1, not 2; use the release"),
    (set_metadata(format="other"), "its format must be 'trilight-model', not 'other'"),
    (without_vocab, "its metadata lacks vocab"),
    (set_metadata(sha256="0" * 64), f"not {'0' * 64} as written in it"),
    (set_metadata(config=[1, 2]), "config must give vocab_size, d_model, n_layers, d_hidden, not"),
    (set_metadata(config={**SIZES, "d_model": 0}), "d_model must be in [1, 65535], not 0"),
    (set_metadata(config={**SIZES, "d_model": True}), "d_model must be an integer, not True"),
    (set_metadata(config={**SIZES, "n_layers": 3}), "it lacks tensor 'layers.2.candidate'"),
    (set_metadata(config={**SIZES, "n_layers": 65535}), "tensors, too few for 65,535 layers"),
    (set_metadata(config={**SIZES, "d_hidden": 14}),
     "tensor 'layers.0.glu_gate' must be U8 [14, 5], not U8 [13, 5]"),
    (set_metadata(embed_scale=2048), "embed_scale must be in [0, 2047], not 2048"),
    (set_metadata(head_scale=0), "head_scale must be in [1, 32767], not 0"),
    (set_metadata(head_scale=1.0), "head_scale must be an integer, not 1.0"),
    (set_metadata(head_tap=0), "head_tap must be in [1, 127], not 0"),
    (set_metadata(vocab=["a"] * 17), "vocab must hold 17 different characters, not 1 in 17"),
    (set_metadata(vocab=["ab"] * 17), "vocab must hold single characters, not 'ab' for token 0"),
    (set_metadata(vocab=None), "vocab must be a sequence of characters, not NoneType"),
    (set_metadata(provenance=[]), "provenance must be a mapping, not list"),
    (without_tensor, "it lacks tensor 'layers.1.gate'"),
    (extra_tensor, "it has an unknown tensor 'layers.2.gate'"),
    (set_tensor("embedding", lambda a: a.T),
     "tensor 'embedding' must be U8 [17, 5], not U8 [5, 17]"),
    (set_tensor("embedding", lambda a: a.astype(np.int8)),
     "tensor 'embedding' must be U8 [17, 5], not I8 [17, 5]"),
    (set_tensor("embedding", first_entry(122)), "trit codes must be 0..121 or 129..249, not 122"),
    (set_tensor("layers.1.gate", first_entry(0x80)),
     "trit codes must be 0..121 or 129..249, not 128"),
    (set_tensor("layers.1.gate", lambda a: a * 0 + 121), "trits past column 20 must be 0"),
    (set_tensor("layers.0.scales", first_entry(0)), "scale must be in [1, 32767], not 0"),
    (set_tensor("layers.0.scales", first_entry(40000)), "scale must be in [1, 32767], not 40000"),
    (set_tensor("layers.0.glu_tap", first_entry(0)), "glu_tap must be in [1, 127], not 0"),
    (set_tensor("layers.0.glu_tap", first_entry(-1)), "glu_tap must be in [1, 127], not -1"),
    (set_tensor("head_bias", lambda a: a + np.int16(1)), "its weights have SHA-256"),
])
def test_illegal_content(path: Path, tamper: Tamper, message: str) -> None:
    rewrite(path, tamper)
    with pytest.raises(ModelFileError) as caught:
        Model.load(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"model file {path}: ")


@pytest.mark.parametrize(("text", "message"), [
    ("{", "its metadata is illegal: "),
    ("7", "its metadata is illegal: it is int, not an object"),
    ("[" * 100_000, "its metadata is illegal: "),
    ('{"config": NaN}', "its metadata is illegal: NaN is not JSON"),
    ("{}", "its metadata is illegal: its checksum does not match"),
])
def test_illegal_metadata(path: Path, text: str, message: str) -> None:
    safetensors.numpy.save_file({"weight": np.zeros(3)}, path, {"trilight": text})
    with pytest.raises(ModelFileError) as caught:
        Model.load(path)
    assert message in str(caught.value)


def test_changed_metadata_without_a_new_checksum(path: Path) -> None:
    tensors, about = read_raw(path)
    about["provenance"]["nats_per_char"] = 0.5
    safetensors.numpy.save_file(tensors, path, {"trilight": json.dumps(about)})
    with pytest.raises(ModelFileError, match=r"its checksum does not match"):
        Model.load(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, seed: int) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    tiny = ModelConfig(vocab_size=3, d_model=6, n_layers=1, d_hidden=4)
    Model.random(tiny, seed).save(folder / "whole")
    return folder


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner,
                                                                max_size=3), max_leaves=8)


@hypothesis_settings(max_examples=100)
@given(data=st.data())
def test_only_own_errors_escape(folder: Path, data: st.DataObject) -> None:
    path = folder / "fuzzed"
    match data.draw(st.sampled_from(["bytes", "splice", "metadata"])):
        case "bytes":
            path.write_bytes(data.draw(st.binary(max_size=300)))
        case "splice":
            whole = (folder / "whole").read_bytes()
            at = data.draw(st.integers(0, len(whole)))
            gone = data.draw(st.integers(0, 40))
            path.write_bytes(whole[:at] + data.draw(st.binary(max_size=40)) + whole[at + gone:])
        case _:
            shutil.copy(folder / "whole", path)
            key = data.draw(st.sampled_from(
                ["version", "config", "vocab", "provenance", "embed_scale", "sha256"]))
            value = data.draw(json_values)
            rewrite(path, set_metadata(**{key: value}))
    try:
        loaded = Model.load(path)
    except ModelFileError:
        return
    assert loaded.sha256 == Model.load(folder / "whole").sha256


@pytest.mark.parametrize(("change", "message"), [
    ({"vocab": ("a",) * 17}, "vocab must hold 17 different characters, not 1 in 17"),
    ({"vocab": ("\ud800", *"abcdefghijklmnop")},
     "vocab must hold single characters, not '\\ud800' for token 0"),
    ({"vocab": tuple("abc")}, "vocab must hold 17 different characters, not 3 in 3"),
    ({"embedding": np.zeros((17, 20), np.int8)},
     "embedding must have shape [17, 21], not [17, 20]"),
    ({"embedding": np.zeros((17, 21))}, "embedding must hold integers, not float64"),
    ({"embedding": np.full((17, 21), 2)}, "embedding must be in [-1, 1], not 2 ... 2"),
    ({"head_bias": np.full(17, 32768)},
     "head_bias must be in [-32768, 32767], not 32768 ... 32768"),
    ({"layers": ()}, "layers must be 2, not 0"),
    ({"provenance": {"loss": math.nan}}, "provenance must hold what JSON can: "),
    ({"provenance": {"path": Path()}}, "provenance must hold what JSON can: "),
    ({"config": dataclasses.replace(CONFIG, d_hidden=14)},
     "layer 0 must have d_model, d_hidden = [21, 14], not [21, 13]"),
    ({"config": dataclasses.replace(CONFIG, vocab_size=65536)},
     "vocab_size must be at most 65,535 so that it fits 16 bits, not 65,536"),
    ({"config": dataclasses.replace(CONFIG, n_layers=65536)},
     "n_layers must be at most 65,535 so that it fits 16 bits, not 65,536"),
])
def test_illegal_model(model: Model, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError) as caught:
        dataclasses.replace(model, **change)
    assert message in str(caught.value)


@pytest.mark.parametrize(("change", "message"), [
    ({"gate": Matrix(np.ones((21, 20), np.int8), 1)},
     "gate must have shape [21, 21], not [21, 20]"),
    ({"tap_now": np.full(21, 128)}, "tap_now must be in [-128, 127], not 128 ... 128"),
    ({"tap_prev": np.zeros(20, int)}, "tap_prev must have shape [21], not [20]"),
    ({"forget_bias": np.full(21, -129)}, "forget_bias must be in [-128, 127], not -129 ... -129"),
])
def test_illegal_layer(model: Model, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError) as caught:
        with_layer(model, **change)
    assert str(caught.value) == message


@pytest.mark.parametrize(("trits", "scale", "message"), [
    ([[2]], 1, "trits must be in [-1, 1], not 2 ... 2"),
    ([0, 1], 1, "trits must have shape [rows, columns], not [2]"),
    ([[0]], 32768, "scale must be in [1, 32767], not 32768"),
])
def test_illegal_matrix(trits: Any, scale: int, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        Matrix(np.array(trits), scale)
    assert str(caught.value) == message


def test_a_model_does_not_change(model: Model) -> None:
    layer = model.layers[0]
    for array in (model.embedding, model.head_bias, layer.tap_now, layer.gate.trits):
        with pytest.raises(ValueError, match="read-only"):
            array.flat[0] = 0
    source = np.zeros((2, 2), np.int8)
    matrix = Matrix(source, 1)
    source[0, 0] = 1
    assert not matrix.trits.any()


def test_text_and_tokens(model: Model) -> None:
    text = "".join(reversed(model.vocab)) * 2
    tokens = model.encode(text)
    assert tokens == list(range(16, -1, -1)) * 2
    assert model.decode(tokens) == text
    assert model.encode("") == []
    assert model.decode([]) == ""


def test_unknown_characters_are_named(model: Model) -> None:
    with pytest.raises(UnknownCharacterError) as caught:
        model.encode("é漢字é漢")
    assert caught.value.characters == ("漢", "字")
    assert "lacks '漢', '字'; leave" in str(caught.value)
    with pytest.raises(UnknownCharacterError, match=r" and 80 more; "):
        model.encode("".join(map(chr, range(0x4E00, 0x4E00 + 100))))


@pytest.mark.parametrize("token", [-1, 17])
def test_unknown_tokens(model: Model, token: int) -> None:
    with pytest.raises(TokenError, match=rf"^tokens must be in \[0, 16\], not {token}$"):
        model.decode([0, token])


@pytest.mark.parametrize("config", [
    ModelConfig(vocab_size=65, d_model=160, n_layers=3, d_hidden=229),
    ModelConfig(vocab_size=32, d_model=40, n_layers=2, d_hidden=50),
    ModelConfig(vocab_size=256, d_model=24, n_layers=1, d_hidden=16),
], ids=str)
def test_random_models_behave(config: ModelConfig, seed: int) -> None:
    model = Model.random(config, seed)
    assert model.sha256 == Model.random(config, seed).sha256
    assert model.sha256 != Model.random(config, seed + 1).sha256
    reference, sampler = ReferenceModel(model), Sampler(seed, 1.0)
    seen: dict[str, list[NDArray[np.int32]]] = {}

    def collect(stage: str, layer: int, values: NDArray[np.int32]) -> None:
        seen.setdefault(stage, []).append(values.ravel())

    tokens = [0]
    for _ in range(60):
        tokens.append(sampler.sample(reference.step(tokens[-1:], collect)[0]))
    assert len(set(tokens)) > 15
    values = {stage: np.concatenate(arrays) for stage, arrays in seen.items()}
    for stage, limit in (("x", 2047), ("q", 127), ("u", 127), ("v", 127)):
        assert (np.abs(values[stage]) >= limit).mean() < 0.03, stage
        assert values[stage].std() > limit / 200, stage
    assert 50 < values["h"].std() < 500
    assert 0.5 < values["logits"].std() / 64 < 3


def test_default_model_lies_in_the_package() -> None:
    path = models.default_model_path()
    assert path.name == "shakespeare.safetensors"
    assert path.parent == Path(str(models.__file__)).parent


def test_why_a_file_cannot_be_read(tmp_path: Path) -> None:
    """safetensors says of a folder that there is no such device."""
    with pytest.raises(ModelFileError, match="cannot be read: Is a directory; check its name"):
        Model.load(tmp_path)
    with pytest.raises(ModelFileError, match="cannot be read: No such file or directory; check"):
        Model.load(tmp_path / "no")
