"""Anchors: sizes by the compressors themselves, the best order of PPMd, and what is refused."""

import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.cli.app import command
from trilight.sw.errors import EvaluationError
from trilight.sw.model.model import Model
from trilight.sw.quality import anchors as module
from trilight.sw.quality.anchors import Anchor, anchors, anchors_svg

pyppmd = pytest.importorskip("pyppmd", reason="PPMd: pip install 'trilight[anchors]'")


@pytest.fixture
def text(rng: np.random.Generator) -> str:
    words = ["".join(rng.choice(list("abcdef"), rng.integers(1, 7))) for _ in range(200)]
    return " ".join(rng.choice(words, 4000))


def test_cost_is_the_difference_that_the_held_out_part_makes(
        text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ppmd_memories", (1 << 14, 1 << 20))
    known, held_out = text[:-2000].encode(), text[-2000:].encode()
    done: list[tuple[int, int]] = []
    rows = {(row.name, row.memory_bytes): row
            for row in anchors(known, held_out, progress=lambda *at: done.append(at))}
    expected = len(zlib.compress(known + held_out, 9)) - len(zlib.compress(known, 9))
    assert rows["zlib -9", 1 << 15].bits_per_byte == 8 * expected / 2000

    def ppmd(data: bytes, order: int, memory: int) -> int:
        encoder = pyppmd.Ppmd8Encoder(order, memory)
        return len(encoder.encode(data) + encoder.flush(True))

    for memory in (1 << 14, 1 << 20):
        costs = {order: ppmd(known + held_out, order, memory) - ppmd(known, order, memory)
                 for order in range(2, 9)}
        row = rows["PPMd (var. I)", memory]
        assert row.bits_per_byte == 8 * min(costs.values()) / 2000
        assert costs[int(row.note.removeprefix("order "))] == min(costs.values())
    assert rows["PPMd (var. I)", 1 << 20].bits_per_byte < rows["zlib -9", 1 << 15].bits_per_byte
    assert done[-1][0] == done[-1][1] == len(done)


def test_text_without_a_held_out_part_is_refused() -> None:
    with pytest.raises(EvaluationError, match="give a longer text"):
        anchors(b"abc", b"")


def test_picture_has_a_point_for_each_memory() -> None:
    rows = [Anchor("zlib -9", 1 << 15, 3.0, ""), Anchor("PPMd (var. I)", 1 << 17, 2.7, ""),
            Anchor("PPMd (var. I)", 1 << 20, 2.3, "")]
    picture = anchors_svg(rows, {"the model": (131_072, 2.08)})
    assert "128 KiB" in picture
    assert "1 MiB" in picture
    assert "the model" in picture


def test_command_writes_rows_and_ours(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                      capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module, "ppmd_memories", (1 << 14,))
    vocab = tuple(sorted(set(text) | set("ghijklmnop")))
    config = ModelConfig(vocab_size=len(vocab), d_model=24, n_layers=1, d_hidden=20)
    model, corpus, out = (tmp_path / name for name in ("m.safetensors", "c.txt", "o.json"))
    replace(Model.random(config, seed=1), vocab=vocab).save(model)
    corpus.write_text(text[:6000])
    assert command(["anchors", "--corpus", str(corpus), "--model", str(model), "--json", str(out)]
                   ) in (None, 0)
    results = json.loads(out.read_text())
    shown = capsys.readouterr().out
    for row in [*results["anchors"], *results["ours"].values()]:
        assert f"{row['bits_per_byte']:.3f}" in shown
    weights = -(-config.ternary_weights // 5)
    sizes = [row["memory_bytes"] - weights for row in results["ours"].values()]
    assert sizes == [0, len(vocab) ** 2, len(vocab) ** 2 + 256 * len(vocab)]
