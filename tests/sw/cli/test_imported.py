"""The command line of imported models, from a checkpoint's folder to text."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trilight.sw.checkpoint.tokens import open_tokenizer
from trilight.sw.cli.app import main

from ..checkpoint.synthetic import FloatModel, Synthetic

WORDS = ["<s>", "</s>", "<unk>", "the", "king", "is", "dead", "long", "live", "a", "crown"]


def tokenizer_json() -> bytes:
    tokenizers = pytest.importorskip("tokenizers", reason="needs the extra 'tokens'")
    words = {word: number for number, word in enumerate(WORDS)}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return bytes(made.to_str(), "utf-8")


@pytest.fixture
def folder(rng: np.random.Generator, tmp_path: Path) -> Path:
    made = Synthetic.random(rng, hidden=48, layers=2, inner=100, vocabulary=len(WORDS))
    path = made.write(tmp_path / "checkpoint")
    (path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    other, arrays = FloatModel(made), {}
    for number in range(2):
        ids = rng.integers(0, len(WORDS), 12)
        arrays |= {f"ids_{number}": ids, f"logits_{number}": other.feed(ids).astype(np.float32)}
    np.savez(tmp_path / "reference.npz", **arrays)
    return path


def test_import_and_compare(folder: Path, tmp_path: Path,
                            capsys: pytest.CaptureFixture[str]) -> None:
    out, report = tmp_path / "model", tmp_path / "import.json"
    assert main(["import", str(folder), "-o", str(out), "--json", str(report)]) == 0
    shown = capsys.readouterr().out
    for words in ("2 layers, 48 wide, 100 in the GLU, 11 tokens", "apache-2.0", "weights not 0",
                  "largest magnitudes over 16 random tokens: i", "tokenizer", "none in the folder"):
        assert words in shown
    found = json.loads(report.read_text())
    assert found["shape"] == {"layers": 2, "hidden": 48, "inner": 100, "vocabulary": 11}
    assert found["ranges"]["saturations"] == 0
    assert 0.6 < found["summary"]["down"]["density"][0] < 0.8

    result = tmp_path / "result.json"
    assert main(["evaluate", str(out), "--against", str(tmp_path / "reference.npz"), "--json",
                 str(result)]) == 0
    assert "RMS / std" in capsys.readouterr().out
    got = json.loads(result.read_text())
    assert got["rms_over_std"] <= 0.02
    assert got["top1"] >= 0.94
    assert got["saturations"] == 0
    assert got["model_sha256"] == found["sha256"]

    assert main(["info", str(out)]) == 0
    assert "2 layers, 48 wide" in capsys.readouterr().out
    assert main(["plan", "--model", str(out), "--board", "icebreaker"]) == 0
    assert "2 layers, 48 / 100, 11 tokens" in capsys.readouterr().out


def test_text(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "tokenizer.json").write_bytes(tokenizer_json())
    out, result = str(tmp_path / "model"), tmp_path / "result.json"
    assert main(["import", str(folder), "-o", out, "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    texts = []
    for seed in ("1", "1", "2"):
        assert main(["generate", "--model", out, "--prompt", "the king is", "--tokens", "8",
                     "--temperature", "2", "--seed", seed, "--json", str(result)]) == 0
        texts.append(json.loads(result.read_text())["texts"][0]["text"])
    assert texts[0] == texts[1] != texts[2]
    assert capsys.readouterr().out.startswith("the king is")

    corpus = tmp_path / "corpus.txt"
    corpus.write_text("the king is dead long live the king " * 3)
    assert main(["evaluate", out, "--corpus", str(corpus), "--split", "all", "--json",
                 str(result)]) == 0
    got = json.loads(result.read_text())
    assert got["tokens_scored"] == 23
    bits = got["nats_per_token"] * 23 / np.log(2) / got["bytes_scored"]
    assert got["bits_per_byte"] == pytest.approx(bits)
    assert main(["evaluate", out, "--corpus", str(corpus), "--split", "all", "--max-tokens", "5",
                 "--json", str(result)]) == 0
    assert json.loads(result.read_text())["tokens_scored"] == 5


def test_boards_and_workers(folder: Path, tmp_path: Path,
                            capsys: pytest.CaptureFixture[str]) -> None:
    """Two boards write what one does; workers score what one process does."""
    (folder / "tokenizer.json").write_bytes(tokenizer_json())
    out, result = str(tmp_path / "model"), tmp_path / "result.json"
    assert main(["import", str(folder), "-o", out, "--quiet"]) == 0

    def results(*arguments: str) -> dict[str, Any]:
        assert main([*arguments, "--json", str(result)]) == 0
        return json.loads(result.read_text())

    spoken = [results("generate", "--model", out, "--prompt", "the king is", "--prompt", "long",
                      "--tokens", "6", "--temperature", "2", *more)
              for more in ((), ("--boards", "2"))]
    assert spoken[0]["texts"] == spoken[1]["texts"]
    assert [board["layers"] for board in spoken[1]["chain"]["boards"]] == [[0, 0], [1, 1]]
    shown = capsys.readouterr()
    assert shown.out.count("the king is") == 2
    assert "board 2 of 2: layer 1 and head" in shown.err

    reference = str(tmp_path / "reference.npz")
    compared = [results("evaluate", out, "--against", reference, *more)
                for more in ((), ("--boards", "2"), ("--workers", "2"))]
    chain = compared[1].pop("chain")
    assert chain["recoveries"] == []
    assert compared[0] == compared[1] == compared[2]

    texts = tmp_path / "texts"
    texts.mkdir()
    for name, text in (("b.txt", "the king is dead"), ("a.txt", "long live the king"),
                       ("c.md", "a crown")):
        (texts / name).write_text(text)
    each = [results("evaluate", out, "--corpus", str(texts / name), "--split", "all")
            for name in ("a.txt", "b.txt")]
    found = results("evaluate", out, "--corpus", str(texts), "--split", "all", "--workers", "2")
    assert [text["name"] for text in found["texts"]] == ["a.txt", "b.txt"]
    for key in ("tokens_scored", "bytes_scored"):
        assert found[key] == sum(one[key] for one in each)
    assert [text["nats_per_token"] for text in found["texts"]] == [
        one["nats_per_token"] for one in each]
    nats = sum(one["nats_per_token"] * one["tokens_scored"] for one in each)
    assert found["bits_per_byte"] == pytest.approx(nats / np.log(2) / found["bytes_scored"])


def test_piece_tokenizer(tmp_path: Path) -> None:
    trainer = pytest.importorskip("sentencepiece", reason="needs the extra 'tokens'")
    text = tmp_path / "text"
    text.write_text("the king is dead\nlong live the king\n" * 20)
    trainer.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(tmp_path / "tokenizer"), vocab_size=40,
        hard_vocab_limit=False, minloglevel=2)
    found = open_tokenizer((tmp_path / "tokenizer.model").read_bytes())
    tokens = found.encode("the king")
    assert tokens[0] == 1
    assert found.decode(tokens) == "the king"
    assert max(tokens) < found.size


def test_errors(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "model")
    assert main(["import", str(folder), "-o", out, "--quiet"]) == 0
    for arguments, words in (
            (["generate", "--model", out, "--prompt", "a"], "has no tokenizer"),
            (["generate", "--model", out, "--prompt", "a", "--target", "netlist"],
             "no target 'netlist'; there are rtl, serial"),
            (["evaluate", out], "give one of them"),
            (["generate", "--prompt", "a", "--boards", "2"], "divides an imported model"),
            (["evaluate", "--boards", "2", "--corpus", "c"], "divides an imported model"),
            (["evaluate", out, "--corpus", "c", "--boards", "2", "--workers", "2"],
             "divide texts by the reference; give one of them"),
            (["generate", "--model", out, "--prompt", "a", "--boards", "2", "--target", "netlist"],
             "cannot run on netlist; their targets are reference, rtl"),
            (["evaluate", out, "--against", str(tmp_path / "reference.npz"), "--boards", "3"],
             "goes on 1 to 2 boards, not 3"),
            (["evaluate", out, "--against", str(tmp_path / "reference.npz"), "--cluster", "a:1"],
             "runs whatever anybody sends it"),
            (["evaluate", out, "--corpus", str(tmp_path)], "has no .txt file"),
            (["evaluate", out, "--model", "b", "--corpus", "c"], "two models are given"),
            (["evaluate", "--against", "r.npz"], "needs a model that trilight import wrote"),
            (["evaluate"], "nothing to evaluate on"),
            (["import", str(tmp_path), "-o", out], "config.json cannot be read"),
            (["import", str(folder), "-o", str(tmp_path)], "is a folder"),
            (["plan", "--model", "7B"], "no published shape '7B'"),
            (["plan", "--board", "de10"], "no memory is known of a board 'de10'")):
        assert main(arguments) == 2
        assert words in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [
    ["--boards", "12"], ["--boards", "12", "--split", "rows"], ["--board", "u280", "--why"],
    ["--model", "2.7B", "--board", "orangecrab-85f", "--boards", "6"]])
def test_plans(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = tmp_path / "plan.json"
    assert main(["plan", *arguments, "--json", str(result)]) == 0
    shown = capsys.readouterr().out
    plan = json.loads(result.read_text())
    assert f"{plan['ternary_weights']:,} ternary weights" in shown
    assert f"one sequence {plan['tokens_per_s']['one_sequence']:.2f} tokens/s" in shown
    assert ("ROOFLINE" in shown) == plan["roofline"] == ("u280" in arguments)
    assert "ternip" in shown
    assert len(plan["field"]) >= 5


def test_text_of_a_model_cannot_act(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                    capsys: pytest.CaptureFixture[str]) -> None:
    """A tokenizer may hold anything, such as what clears a terminal."""
    out = str(tmp_path / "model")
    assert main(["import", str(folder), "-o", out, "--quiet"]) == 0
    monkeypatch.setattr("trilight.sw.cli.imported.generate_pieces",
                        lambda *_, **__: iter([(0, "a\x1b[2J"), (0, "\u202eb\n")]))
    assert main(["generate", "--model", out, "--prompt", "a"]) == 0
    assert capsys.readouterr().out == "aa\\x1b[2J\\u202eb\n\n"
