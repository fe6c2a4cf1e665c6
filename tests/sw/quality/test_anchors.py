"""Anchors: sizes by the compressors themselves, the best order of PPMd, and what is refused."""

import json
import os
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.cli.app import main
from trilight.sw.errors import EvaluationError
from trilight.sw.model.model import Model
from trilight.sw.quality import anchors as module
from trilight.sw.quality.anchors import Anchor, anchors
from trilight.sw.quality.anchors_plot import anchors_svg
from trilight.sw.quality.evaluate import evaluate

pyppmd = pytest.importorskip("pyppmd", reason="PPMd: pip install 'trilight[anchors]'")


@pytest.fixture
def text(rng: np.random.Generator) -> str:
    words = ["".join(rng.choice(list("abcdef"), rng.integers(1, 7))) for _ in range(200)]
    return " ".join(rng.choice(words, 4000))


def test_cost_is_the_difference_that_the_held_out_part_makes(
        text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ppmd_memories", (1 << 14, 1 << 20))
    monkeypatch.setenv("PATH", str(tmp_path))  # no zpaq
    known, held_out = text[:-2000], text[-2000:]
    done: list[tuple[int, int]] = []
    found = anchors(known, held_out, pieces=4, progress=lambda *at: done.append(at))
    rows = {(row.name, row.memory_bytes): row for row in found}

    def cost(size: Callable[[bytes], int], more: str) -> float:
        return 8 * (size((known + more).encode()) - size(known.encode())) / len(more)

    assert rows["zlib -9", 1 << 15].adaptive == cost(lambda data: len(zlib.compress(data, 9)),
                                                     held_out)

    def ppmd(order: int, memory: int) -> Callable[[bytes], int]:
        def size(data: bytes) -> int:
            encoder = pyppmd.Ppmd8Encoder(order, memory)
            return len(encoder.encode(data) + encoder.flush(True))

        return size

    for memory in (1 << 14, 1 << 20):
        costs = {order: cost(ppmd(order, memory), held_out) for order in (3, 4, 5, 6)}
        row = rows["PPMd (var. I)", memory]
        best = int(row.note.removeprefix("order "))
        assert row.adaptive == min(costs.values()) == costs[best]
        length = len(held_out) // 64
        pieces = [cost(ppmd(best, memory), held_out[start * length:][:length])
                  for start in (0, 21, 42, 63)]
        assert row.cold == pytest.approx(np.mean(pieces))
        assert row.cold_error == pytest.approx(np.std(pieces, ddof=1) / 2)
    assert rows["PPMd (var. I)", 1 << 20].adaptive < rows["zlib -9", 1 << 15].adaptive
    assert [row.note.partition(",")[0] for row in found if row.name == "Kneser-Ney"] == [
        f"order {order}" for order in (4, 5, 6, 7)]
    assert done[-1][0] == done[-1][1]
    assert [at for at, _ in done] == sorted(at for at, _ in done)


def test_zpaq_is_measured_where_it_is(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                      ) -> None:
    """A program in its place whose archives are the text once for each option that it is given."""
    program = tmp_path / "zpaq"
    program.write_text(f"""#!{sys.executable}
import pathlib, sys
command, archive, text, option, method, *threads = sys.argv[1:]
assert (command, option, threads) == ("add", "-method", ["-threads", "1"])
pathlib.Path(archive).write_bytes(pathlib.Path(text).read_bytes() * (1 + ("w" in method)))
""")
    program.chmod(0o755)
    monkeypatch.setattr(module, "ppmd_memories", ())
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    rows = {row.note: row for row in anchors(text[:-640], text[-640:], pieces=2)
            if row.name == "zpaq"}
    assert {note: (row.adaptive, row.cold) for note, row in rows.items()} == {
        "orders 1 to 6": (8.0, None), "and words": (16.0, None)}
    assert all(1 << 20 < (row.memory_bytes or 0) < 1 << 30 for row in rows.values())
    program.write_text(f"#!{sys.executable}\nraise SystemExit(3)\n")
    with pytest.raises(EvaluationError, match="zpaq ended with 3"):
        anchors(text[:-640], text[-640:])


def test_text_without_a_held_out_part_is_refused() -> None:
    with pytest.raises(EvaluationError, match="give a longer text"):
        anchors("abc", "")


def test_picture_has_a_name_for_each_colour() -> None:
    rows = [Anchor(name="zlib -9", memory_bytes=1 << 15, adaptive=3.0),
            *(Anchor(name="PPMd (var. I)", memory_bytes=1 << size, adaptive=2.7, cold=2.8)
              for size in (17, 20)),
            Anchor(name="bzip2 -9", adaptive=2.4)]
    picture = anchors_svg(rows, [Anchor(name="the model", memory_bytes=131_048, cold=2.08)])
    for words in ("128 KiB", "1 MiB", "PPMd (var. I)", "this model"):
        assert f"<!-- {words} -->" in picture
    # What takes no known memory is not drawn.
    assert "bzip2" not in picture


def test_command_writes_rows_and_ours(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                      capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module, "ppmd_memories", (1 << 14,))
    monkeypatch.setenv("PATH", str(tmp_path))  # no zpaq
    vocab = tuple(sorted(set(text) | set("ghijklmnop")))
    config = ModelConfig(vocab_size=len(vocab), d_model=24, n_layers=1, d_hidden=20)
    model, corpus, out, compared = (tmp_path / name for name in (
        "m.safetensors", "c.txt", "o.json", "compared.json"))
    replace(Model.random(config, seed=1), vocab=vocab).save(model)
    corpus.write_text(text[:6000])
    compared.write_text(json.dumps({
        "models": [{"kind": "transformer", "format": "float32", "weights": 5, "weight_bytes": 20,
                    "nats_per_char_stateful": None, "nats_per_char_windows": 1.5}],
        "published": [{"name": "big, really", "window_characters": 256, "weight_bytes": 9,
                       "nats_per_char_windows": 1.4}]}))
    given = ["anchors", "--corpus", str(corpus), "--model", str(model), "--pieces", "2",
             "--json", str(out), "--compared"]
    assert main([*given, str(compared)]) == 0
    results = json.loads(out.read_text())
    shown = capsys.readouterr().out
    rows = [*results["others"], *results["ours"]]
    for row in rows:
        for key in ("adaptive", "cold", "windows"):
            assert row[key] is None or f"{row[key]:.3f}" in shown
    assert {row["name"]: row["windows"] for row in rows[-5:-3]} == {
        "Transformer": 1.5 / np.log(2), "big": 1.4 / np.log(2)}
    weights = -(-config.ternary_weights // 5)
    sizes = [row["memory_bytes"] - weights for row in results["ours"]]
    assert sizes == [0, len(vocab) ** 2, len(vocab) ** 2 + 256 * len(vocab)]
    held_out = text[:6000][5400:]
    for row, protocol in ((results["ours"][0]["cold"], "stateful"),
                          (results["ours"][0]["windows"], "windows")):
        assert row == pytest.approx(
            evaluate(Model.load(model), held_out, protocol)["bits_per_byte"])
    compared.write_text("[]")
    assert main([*given, str(compared)]) == 2
    assert "no results of trilight compare" in capsys.readouterr().err
