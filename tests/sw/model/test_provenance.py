"""Provenance of earlier versions: keys and protocols are renamed, figures stay."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import safe_open

from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model
from trilight.sw.model.provenance import RENAMED

MODEL = Model.random(ModelConfig(vocab_size=16, d_model=16, n_layers=1, d_hidden=16), 1)


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for part in value.values():
            yield from leaves(part)
    elif isinstance(value, list):
        for part in value:
            yield from leaves(part)
    else:
        yield value


def test_an_old_file_is_read_with_the_names_of_today(tmp_path: Path) -> None:
    old: dict[str, Any] = {
        "quality": {"protocol": "streamed", "nats_per_char": 1.5},
        "quality_blocks": {"protocol": "blocks", "block_characters": 256},
        "teachers": [{"float_nats_per_char_blocks": 1.4, "seed": 2}], "blocks": "streamed"}
    path = tmp_path / "old.safetensors"
    replace(MODEL, provenance=old).save(path)
    assert Model.load(path).provenance == {
        "quality": {"protocol": "stateful", "nats_per_char": 1.5},
        "quality_windows": {"protocol": "windows", "window_characters": 256},
        "teachers": [{"float_nats_per_char_windows": 1.4, "seed": 2}], "blocks": "streamed"}
    assert Model.load(path).sha256 == MODEL.sha256


def test_no_figure_of_the_bundled_model_changes() -> None:
    path = default_model_path()
    with safe_open(path, framework="numpy") as file:
        stored = json.loads(file.metadata()["trilight"])["provenance"]
    loaded = json.loads(json.dumps(Model.load(path).provenance))
    assert set(RENAMED) & set(stored)
    protocols = {"streamed": "stateful", "blocks": "windows"}
    assert sorted(map(str, leaves(loaded))) == sorted(
        str(protocols.get(leaf, leaf)) for leaf in leaves(stored))
