"""Recipes of training: they parse, fit, and give way to what is typed."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from trilight.hw.contract.device import Device, WeightMemory
from trilight.hw.support.boards import board_device
from trilight.sw.cli import train as command
from trilight.sw.errors import TrainingError
from trilight.sw.model.model import Model
from trilight.sw.train.recipe import Recipe, load_recipe, recipe_names
from trilight.sw.train.shape import choose_config, memory_fill

VOCABULARY = 65
"""Of Tiny Shakespeare."""

OPTIONS = {"board", "network", "characters", "synthetic", "synthetic_batch", "seed", "dropout",
           "ema", "compile", "d_model", "layers", "hidden", "optimizer", "state_reset",
           "ternary_threshold"}
TERNARY = [name for name in recipe_names()
           if load_recipe(name, OPTIONS).train.get("network", "ternary") == "ternary"]


def device(recipe: Recipe) -> Device:
    return recipe.memory or board_device(recipe.train.get("board", "icebreaker"))


def train(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(command.train_command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    words = np.random.default_rng(2).choice(["stone", "moon", "ember", "the",
                                            "dark", "fig", "cup", "jaw", "lazy", "ox", "vow"], 6000)
    path.write_text(" ".join(words), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_say_what_they_are_for(name: str) -> None:
    recipe = load_recipe(name, OPTIONS)
    assert recipe.about.endswith(".")
    assert recipe.train


@pytest.mark.parametrize("name", TERNARY)
def test_recipes_fit_what_they_are_for(name: str) -> None:
    recipe = load_recipe(name, OPTIONS)
    shape = {key: recipe.train.get(key) for key in ("d_model", "layers", "hidden")}
    config = choose_config(VOCABULARY, device(recipe), **shape)
    config.check_fits(device(recipe))
    if not any(shape.values()):
        assert memory_fill(config, device(recipe)) > 0.8


def test_recipes_serve_memories_of_different_size() -> None:
    def weights(chip: Device) -> int:
        return chip.weight_words * chip.packing.block

    found = {weights(device(load_recipe(name, OPTIONS))) for name in TERNARY}
    assert len(found) == len(TERNARY) - 1  # the tiny model is for the board's
    assert min(found) * 16 <= weights(board_device("icebreaker")) < max(found)


@pytest.mark.parametrize(("content", "message"), [
    ("about = 1 1", "cannot be read: "),
    ("[oven]\nhot = 1", "may hold about, memory, train, not oven"),
    ("train = 3", r"train must be a table, \[train\], not 3"),
    ("[train]\nmade_up = 1", "made_up is now called synthetic"),
    ("[train]\nsugar = 1", r"\[train\] may hold board, .*, not sugar"),
    ("[memory]\nweight_words = 99\nsalt = 1", r"\[memory\] may hold .*, not salt"),
    ("[memory]\nmax_rows = 99", r"needs positive integers, weight_words at least, not none"),
    ("[memory]\nweight_words = true", "not weight_words = True"),
    ("[memory]\nweight_words = 99\nname = 3", "not name = 3"),
    ("[memory]\nweight_words = 99\nmax_columns = 257", "not max_columns = 257"),
    ("[memory]\nweight_words = 1_000_000_000_000", "not weight_words = 1000000000000"),
    ("about = 3", "about must be a text, not 3"),
    ("[train]\nlayers = {a = 1}", r"has texts and numbers, not layers = "),
    ("[train]\nlayers = 2026-01-01", r"has texts and numbers, not layers = "),
    ("[train]\nlayers = [[1]]", r"has texts and numbers, not layers = "),
    pytest.param(f"about = {5000 * '['}", "cannot be read: ", id="deep"),
])
def test_files_that_are_no_recipes(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(TrainingError, match=message):
        load_recipe(str(path), OPTIONS)


@pytest.mark.parametrize("name", ["soup", "soup.toml"])
def test_recipe_that_is_missing(name: str) -> None:
    with pytest.raises(TrainingError, match=f"no recipe '{name}'; there is .*tiny"):
        load_recipe(name, OPTIONS)


def test_memory_of_a_recipe_has_its_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[memory]\nweight_words = 99\nmax_rows = 70", encoding="utf-8")
    assert load_recipe(str(path), OPTIONS).memory == Device(
        name="mine", weight_words=99, max_rows=70, weight_memory=WeightMemory.BLOCK_RAM)


def test_training_takes_the_recipe_and_what_is_typed_before_it(
        text: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs PyTorch")
    out, mine = tmp_path / "m.safetensors", tmp_path / "mine.toml"
    mine.write_text("[memory]\nweight_words = 400\n[train]\nlayers = 2\nd_model = 24\n"
                    'characters = 9_000\nseed = 5\ncompile = "off"\n', encoding="utf-8")
    result = train("--corpus", text, "--out", out, "--recipe", mine, "--seed", 6,
                   "--threads", 1, "--precision", "fp32")
    assert result.exit_code == 0, result.output
    model = Model.load(out)
    about: dict[str, Any] = dict(model.provenance)
    assert (about["seed"], about["weight_words_present"]) == (6, 400)
    assert (model.config.n_layers, model.config.d_model) == (2, 24)
    larger = dataclasses.replace(model.config, d_hidden=model.config.d_hidden + 1)
    assert larger.violations(Device(name="mine", weight_words=400))
    assert f"--recipe {mine.name}" in about["command"]


def test_training_names_what_a_recipe_cannot_say(text: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('[train]\nout = "x"\n', encoding="utf-8")
    result = train("--corpus", text, "--out", tmp_path / "m", "--recipe", mine)
    assert isinstance(result.exception, TrainingError)
    assert "[train] may hold" in str(result.exception)


def test_resuming_by_a_recipe_is_no_change_of_settings(text: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs PyTorch")
    result = train("--corpus", text, "--out", tmp_path / "m", "--recipe", "tiny", "--resume")
    assert "cannot be read: No such file" in str(result.exception)
    result = train("--corpus", text, "--out", tmp_path / "m", "--recipe", "tiny", "--resume",
                   "--seed", 2)
    assert "leave out --seed," in str(result.exception)
