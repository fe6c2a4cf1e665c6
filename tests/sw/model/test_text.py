"""One reader of texts: whoever wrote the file, training, evaluation and generation see the same."""

import json
import shlex
import unicodedata
from pathlib import Path

import pytest
import typer

from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.cli.app import main
from trilight.sw.cli.train import train_command
from trilight.sw.cli.train_resume import SETTINGS, check_paths, resume_line
from trilight.sw.errors import CorpusError, TrainingError
from trilight.sw.model.model import Model
from trilight.sw.model.text import plain_text, prompt_for, read_text
from trilight.sw.train.corpus import read_corpus

LINES = "".join(f"Größe {n}: naïve café, Ångström\n" for n in range(600))
"""In normal form C, of more than 10,000 characters."""

FORMS = {
    "plain": LINES.encode(),
    "byte order mark": b"\xef\xbb\xbf" + LINES.encode(),
    "Windows": LINES.replace("\n", "\r\n").encode(),
    "old Mac": LINES.replace("\n", "\r").encode(),
    "form D": unicodedata.normalize("NFD", LINES).encode(),
    "all of it": b"\xef\xbb\xbf" + unicodedata.normalize("NFD", LINES).replace(
        "\n", "\r\n").encode(),
}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_bytes(FORMS[request.param])
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    vocab = tuple(sorted(set(LINES)))
    random = Model.random(ModelConfig(vocab_size=len(vocab), d_model=20, n_layers=1, d_hidden=20),
                          5)
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    Model(**{**vars(random), "vocab": vocab}).save(path)
    return path


def test_the_forms_are_of_one_text(form: Path) -> None:
    read = read_text(form)
    assert read.text == LINES
    assert bool(read.changes) == (form.read_bytes() != LINES.encode())


def test_what_is_changed_is_said() -> None:
    text = "\ufeffe\u0301\r\n\r"
    assert plain_text(text) == ("\u00e9\n\n", (
        "a byte order mark left out", "2 line ends made Unix's",
        "accents joined to their letters (Unicode's form NFC)"))
    assert plain_text("plain\ttext\f\n") == ("plain\ttext\f\n", ())


def test_training_and_evaluation_hold_out_the_same(form: Path, model: Path, tmp_path: Path,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    trained = read_corpus(form, max_vocab=256)
    assert trained.held_out_text == LINES[len(LINES) * 9 // 10:]
    assert trained.vocab == tuple(sorted(set(LINES)))
    out = tmp_path / "quality.json"
    assert main(["evaluate", "--corpus", str(form), "--model", str(model), "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    said = capsys.readouterr().err
    assert found["protocols"]["stateful"]["text_sha256"] == found["text_sha256"]
    again = tmp_path / "plain.txt"
    again.write_text(LINES, encoding="utf-8")
    assert main(["evaluate", "--corpus", str(again), "--model", str(model), "--json",
                 str(tmp_path / "plain.json")]) == 0
    plain = json.loads((tmp_path / "plain.json").read_text())
    assert {**found, "corpus": "", "changes": []} == {**plain, "corpus": ""}
    assert found["changes"] == list(trained.changes)
    assert all(change in said for change in trained.changes)


@pytest.mark.parametrize("length", range(10_000, 10_010))
def test_a_byte_order_mark_moves_no_border(length: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_text(LINES[:length], encoding="utf-8")
    (tmp_path / "b").write_text(LINES[:length], encoding="utf-8-sig")
    first, second = (read_corpus(tmp_path / name, max_vocab=256) for name in "ab")
    assert first.held_out_text == second.held_out_text
    assert first.train.tolist() == second.train.tolist()


@pytest.mark.parametrize(("prompt", "change"), [
    ("Gro\u0308", "accents joined"), ("\ufeffG", "byte order mark"), ("G\r\nG", "line ends"),
    ("A\u030angstro\u0308m", "accents joined"), ("\u212b", "accents joined")], ids=ascii)
def test_a_prompt_in_another_form(prompt: str, change: str, model: Path,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    plain, _ = plain_text(prompt)
    command = ["generate", "-n", "9", "-q", "--model", str(model), "-p"]
    assert main([*command, plain]) == 0
    expected, said = capsys.readouterr()
    assert said == ""
    assert main([*command, prompt]) == 0
    found, said = capsys.readouterr()
    assert found == expected
    assert f"the prompt: {change}" in said or change in said


def test_a_vocabulary_of_another_form_keeps_it() -> None:
    """As of a model that was trained on line ends of Windows, or on accents of their own."""
    assert prompt_for("a\r\n", "a\r\n") == ("a\r\n", ())
    assert prompt_for("e\u0301", "e\u0301") == ("e\u0301", ())
    assert prompt_for("abc", "abx") == ("abx", ())


@pytest.mark.parametrize(("raw", "text"), [
    ("Größe".encode("utf-16"), "it is utf-16; convert it, e.g. with iconv -f utf-16 -t utf-8"),
    (b"Gr\xf6\xdfe", "byte 0xf6 at position 2; convert it"),
    (b"text\0text", r"control character '\\x00' at position 4"),
    (b"a\x1b[31m", r"control character '\\x1b'"),
])
def test_what_is_no_text(raw: bytes, text: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(raw)
    with pytest.raises(CorpusError, match=text):
        read_text(tmp_path / "f")


# ---- Training: nothing is lost by a second one


def test_a_training_does_not_write_over_a_model(tmp_path: Path) -> None:
    out, saved = tmp_path / "mine.safetensors", tmp_path / "state.pt"
    check_paths(out, saved, resume=False, force=False)
    out.write_bytes(b"hours of work")
    for resume in (False, True):
        with pytest.raises(TrainingError, match=r"is there already.*add --force"):
            check_paths(out, saved, resume=resume, force=False)
    check_paths(out, saved, resume=False, force=True)


def test_the_line_that_goes_on_keeps_every_option() -> None:
    app = typer.Typer()
    app.command()(train_command)
    given = ["--corpus", "a b.txt", "--out", "m.safetensors", "--board", "ulx3s-85f", "--teacher",
             "one", "--teacher", "it's", "--synthetic", "5", "--soft-targets", "folder",
             "--device", "cpu", "--threads", "3", "--checkpoint", "place", "--development",
             "--force"]
    command = typer.main.get_command(app)
    with command.make_context("train", [*given, "--seed", "9", "--minutes", "3"]) as context:
        line = resume_line(context)
    words = shlex.split(line)
    assert words[:2] == ["trilight", "train"]
    assert words[-1] == "--resume"
    with command.make_context("train", words[2:]) as again:
        kept = {name: value for name, value in again.params.items() if name != "resume"}
        for name, value in context.params.items():
            if name not in (*SETTINGS, "resume"):
                assert kept[name] == value
    assert "--seed" not in words
    assert "--minutes" not in words


@pytest.mark.parametrize("option", ["--d-model", "--layers", "--hidden"])
def test_a_network_beyond_reason_is_refused_at_once(option: str,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--corpus", "c", "--out", "o", option, "100000"]) == 2
    assert option in capsys.readouterr().err
