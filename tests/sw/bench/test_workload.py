"""Prompts and seeds, and what may go wrong with them."""

from dataclasses import replace
from pathlib import Path

import pytest

from trilight.sw.bench.workload import Workload, load_prompts
from trilight.sw.errors import BenchError, PromptError
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model

PLAIN = Workload(prompts=("a", "b"))


def test_each_prompt_has_a_seed_of_its_own() -> None:
    requests = replace(PLAIN, seed=9).requests
    assert [(r.prompt, r.seed) for r in requests] == [("a", 9), ("b", 10)]


@pytest.mark.parametrize("changes", [
    {"prompts": ("a", "c")}, {"tokens": 3}, {"temperature": 0.5}, {"seed": 1}], ids=str)
def test_hash_is_of_everything_that_decides_the_tokens(changes: dict[str, object]) -> None:
    assert replace(PLAIN).sha256 == PLAIN.sha256
    assert replace(PLAIN, **changes).sha256 != PLAIN.sha256


def test_prompts_that_come_along_suit_the_model_that_comes_along() -> None:
    prompts = load_prompts()
    assert len(set(prompts)) == len(prompts) >= 5
    Workload(prompts=prompts).check(Model.load(default_model_path()))


def test_prompts_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("To be\n\n  or not\n", encoding="utf-8")
    assert load_prompts(path) == ("To be", "  or not")


@pytest.mark.parametrize(("content", "text"), [
    (None, "cannot be read: No such file"), (b"\n\n", "holds no prompt"),
    (b"\xff", "are not UTF-8")])
def test_files_without_prompts(content: bytes | None, text: str, tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BenchError, match=text):
        load_prompts(path)


def test_characters_that_the_model_lacks(model: Model) -> None:
    with pytest.raises(BenchError, match=r"prompt '\u2020': .*--prompts"):
        Workload(prompts=("1", "\u2020")).check(model)


def test_numbers_out_of_range(model: Model) -> None:
    with pytest.raises(PromptError, match="tokens must"):
        Workload(prompts=("1",), tokens=0).check(model)
