"""The command line, mostly in process, with the streams it writes to."""

import base64
import json
import lzma
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.markup import render
from typer.core import TyperOption

from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.support.boards import board_device
from trilight.sw.cli import app as cli
from trilight.sw.host import targets
from trilight.sw.host.emulator import ReferenceTransport
from trilight.sw.host.targets import TargetFactory, TargetOptions
from trilight.sw.model.image import Image, compile_image
from trilight.sw.model.model import Model
from trilight.sw.quality.evaluate import evaluate
from trilight.sw.reference.continuation import continue_text
from trilight.sw.train.renamed import RENAMED_OPTIONS

DEVICE = board_device()

MODEL = Model.random(ModelConfig(vocab_size=60, d_model=48, n_layers=2, d_hidden=90), 5)
RUN = [sys.executable, "-c", "from trilight.sw.cli.app import main; raise SystemExit(main())"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    MODEL.save(path)
    return str(path)


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """What other packages add to the command line."""
    entries: list[EntryPoint] = []
    monkeypatch.setattr(cli, "entry_points", lambda **_: EntryPoints(entries))
    return entries


def expected(prompt: str, tokens: int, temperature: float, seed: int) -> list[int]:
    return continue_text(MODEL, prompt, tokens, seed=seed, temperature=temperature)


def install(monkeypatch: pytest.MonkeyPatch, factory: TargetFactory) -> None:
    """Make ``fake`` a target; other entry points stay what they are."""
    load = EntryPoint.load
    monkeypatch.setattr(EntryPoint, "load",
                        lambda self: factory if self.name == "fake" else load(self))
    monkeypatch.setattr(targets, "entry_points",
                        lambda **_: EntryPoints([EntryPoint("fake", "", targets.GROUP)]))


def test_generate(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Text alone on stdout, the report on stderr and as JSON."""
    json_file = tmp_path / "report.json"
    assert cli.main(["generate", "--prompt", "HELLO", "--tokens", "50", "--seed", "7",
                     "--temperature", "2.5", "--target", "reference", "--model", model,
                     "--json", str(json_file)]) == 0
    tokens = expected("HELLO", 50, 2.5, 7)
    out, err = capsys.readouterr()
    assert out == MODEL.decode(tokens) + "\n"
    assert "tokens/s" in err
    results = json.loads(json_file.read_text())
    assert results["token_ids"] == tokens
    assert results["text"] == MODEL.decode(tokens)
    for name in ("cycles_per_token", "utilisation", "clock_hz", "tokens_per_s",
                 "tokens_per_joule"):
        assert results[name] is None
        assert results["figures"][name]["reason"]


def test_several_prompts(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its prompt on stdout, one after the other; all of them as JSON."""
    json_file = tmp_path / "report.json"
    prompts = ["HELLO", "A", "BYE"]
    arguments = [part for prompt in prompts for part in ("--prompt", prompt)]
    assert cli.main(["generate", *arguments, "-n", "30", "-s", "7", "-t", "2.5", "-m", model,
                     "--json", str(json_file)]) == 0
    tokens = [expected(prompt, 30, 2.5, 7 + number) for number, prompt in enumerate(prompts)]
    texts = [MODEL.decode(ids) for ids in tokens]
    assert capsys.readouterr().out == "\n\n".join(
        prompt + text for prompt, text in zip(prompts, texts, strict=True)) + "\n"
    results = json.loads(json_file.read_text())
    assert results["texts"] == [
        {"prompt": prompt, "text": text, "token_ids": ids, "seed": 7 + number}
        for number, (prompt, text, ids) in enumerate(zip(prompts, texts, tokens, strict=True))]
    assert (results["text"], results["token_ids"]) == (texts[0], tokens[0])
    assert results["sequences"] == 2


def test_quiet(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", "-p", "HELLO", "-n", "5", "-m", model, "-q"]) == 0
    out, err = capsys.readouterr()
    assert out == MODEL.decode(expected("HELLO", 5, 0.8, 0)) + "\n"
    assert err == ""


@pytest.mark.parametrize("options", [[], ["-q"]])
def test_what_a_target_is_doing(options: list[str], model: str,
                                monkeypatch: pytest.MonkeyPatch,
                                capsys: pytest.CaptureFixture[str]) -> None:
    """Also with --quiet, which is about the results: a build takes minutes."""
    def factory(target: TargetOptions) -> ReferenceTransport:
        target.progress("warming up [1/2]")
        return ReferenceTransport()

    install(monkeypatch, factory)
    assert cli.main(["generate", "-p", "A", "-n", "1", "-m", model, "--target", "fake",
                     *options]) == 0
    said = capsys.readouterr().err
    assert said.startswith("warming up [1/2]\n")
    assert (said == "warming up [1/2]\n") == bool(options)


@pytest.mark.parametrize(("arguments", "text"), [
    (["generate", "-p", "\u2020"], "vocabulary lacks '\u2020'"),
    (["generate", "-p", "A", "--target", "abacus"], "no target 'abacus'"),
    (["generate", "-p", "A", "--target", "serial:nowhere"], "cannot open nowhere"),
    (["generate", "-p", "A", "--json", "no-such-folder/a.json"], "there is no folder"),
    (["evaluate", "-c", "no-such-file.txt"], "corpus no-such-file.txt cannot be read"),
])
def test_errors_are_one_message(arguments: list[str], text: str, model: str,
                                capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*arguments, "--model", model]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Error: ")
    assert text in err
    assert "Traceback" not in err


@pytest.mark.parametrize("content", [None, b"", b"no model"], ids=["missing", "empty", "text"])
def test_bad_model_files(content: bytes | None, tmp_path: Path,
                         capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    assert cli.main(["generate", "-p", "A", "-m", str(path)]) == 2
    assert f"Error: model file {path}" in capsys.readouterr().err.replace("\n", "")


@pytest.mark.parametrize(("arguments", "text"), [
    (["-m", "no-such-file"], "model file no-such-file"),
    (["-p", ""], "the prompt must"),
    (["-p", "\u2020"], "vocabulary lacks"),
    (["-n", "0"], "tokens must"),
    (["-t", "9"], "temperature must"),
    (["-s", "-1"], "seed must"),
    (["-p", "B", "-s", str(2**32 - 1)], "seed must"),
    (["-p", "B\u2020"], "vocabulary lacks"),
])
def test_requests_are_checked_before_the_target_is_opened(
        arguments: list[str], text: str, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Compiling a target takes longer."""
    assert cli.main(["generate", "-p", "A", "-m", model, "--target", "abacus", *arguments]) == 2
    assert text in capsys.readouterr().err


def test_too_large_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "large.safetensors"
    Model.random(ModelConfig(vocab_size=60, d_model=240, n_layers=3, d_hidden=240), 5).save(path)
    assert cli.main(["generate", "-p", "A", "-m", str(path)]) == 2
    err = capsys.readouterr().err
    assert "720 needed, 512 present" in err
    assert cli.main(["info", str(path)]) == 0
    assert "720 needed, 512 present" in capsys.readouterr().out
    assert cli.main(["image", str(path), "--out", str(tmp_path / "image")]) == 2
    assert not (tmp_path / "image").exists()


@pytest.mark.parametrize("split", ["validation", "all"])
def test_evaluate(split: str, model: str, tmp_path: Path,
                  capsys: pytest.CaptureFixture[str]) -> None:
    text = MODEL.decode([n * n % 60 for n in range(3000)])
    corpus, json_file = tmp_path / "corpus.txt", tmp_path / "quality.json"
    corpus.write_text(text, encoding="utf-8")
    assert cli.main(["evaluate", "--corpus", str(corpus), "--model", model, "--split", split,
                     "--json", str(json_file)]) == 0
    part = text[2700:] if split == "validation" else text
    results = json.loads(json_file.read_text())
    assert results["protocols"] == {name: evaluate(MODEL, part, name)
                                    for name in ("stateful", "windows")}
    stateful = results["protocols"]["stateful"]
    assert results["nats_per_char"] == stateful["nats_per_char"]
    assert results["bits_per_byte"] == stateful["bits_per_byte"]
    assert f"{stateful['nats_per_char']:.4f}" in capsys.readouterr().out


def test_evaluate_refuses_what_is_no_text(model: str, tmp_path: Path,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_bytes(b"\xff" * 500)
    assert cli.main(["evaluate", "-c", str(corpus), "-m", model]) == 2
    assert "is not UTF-8 text" in capsys.readouterr().err


def test_info(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    json_file = tmp_path / "info.json"
    assert cli.main(["info", model, "--json", str(json_file)]) == 0
    results = json.loads(json_file.read_text())
    assert results["sha256"] == MODEL.sha256
    assert results["violations"] == []
    assert results["ternary_weights"] == 60 * 48 + 2 * (4 * 48 * 48 + 3 * 48 * 90)
    assert f"{results['ternary_weights']:,}" in capsys.readouterr().out


def test_info_says_first_things_first(capsys: pytest.CaptureFixture[str]) -> None:
    """Where the file comes from is shown as a whole only when it is asked for."""
    assert cli.main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 20
    first = [line.split("  ")[0] for line in lines if line[:1] not in ("", " ")]
    assert first[:5] == ["fits up5k", "weights", "sizes", "quality", "trained"]
    assert cli.main(["info", "--provenance"]) == 0
    whole = capsys.readouterr().out
    assert "teachers" in whole
    assert "teachers" not in "".join(lines)


@pytest.mark.parametrize(("arguments", "message"), [
    (["-n", "1"], "waves are drawn of targets rtl and netlist, not of 'reference'"),
    (["-n", "1000"], "waves of 1,000 tokens, prompt included, would take 27.0 GB"),
])
def test_waves_that_cannot_be_drawn(model: str, tmp_path: Path, arguments: list[str],
                                    message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", "-p", "A", "-m", model, "--waves", str(tmp_path / "w.vcd"),
                     *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_image(model: str, tmp_path: Path) -> None:
    out = tmp_path / "image"
    assert cli.main(["image", model, "--out", str(out)]) == 0
    assert out.read_bytes() == compile_image(MODEL, DEVICE).to_bytes()


def test_image_of_an_earlier_version_is_converted(tmp_path: Path,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[1] / "model" / "image-v2.b85").read_text("ascii")
    old, new = tmp_path / "old.img", tmp_path / "new.img"
    old.write_bytes(lzma.decompress(base64.b85decode(text.replace("\n", ""))))
    assert cli.main(["image", str(old), "--out", str(new)]) == 0
    assert "has been converted" in capsys.readouterr().out
    assert new.read_bytes() == Image.from_bytes(old.read_bytes()).to_bytes()


# ---- Help and commands of other packages


def greet(name: str = "you") -> None:
    """Say hello."""
    print(f"hello {name}")


group = typer.Typer(help="A group of commands.")
group.command("one")(greet)
group.command("two")(greet)


def test_help_teaches(capsys: pytest.CaptureFixture[str], plugins: list[EntryPoint]) -> None:
    plugins.append(EntryPoint("dream", "no_such_package:command", cli.COMMANDS))
    plugins.append(EntryPoint("greet", f"{__name__}:greet", cli.COMMANDS))
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    for words in ("generate", "evaluate", "info", "image", "dream", "no_such_package", "greet",
                  "Say hello", "First steps"):
        assert words in out


def test_help_keeps_its_brackets() -> None:
    """Brackets that are not escaped are markup, and vanish."""
    def below(command: Any) -> Iterator[Any]:
        yield command
        for child in getattr(command, "commands", {}).values():
            yield from below(child)

    texts = [text for command in below(typer.main.get_command(cli._build([])))
             for text in (parameter.help for parameter in command.params
                          if isinstance(parameter, TyperOption)) if text]
    assert any("[" in text for text in texts)
    assert [text for text in texts if render(text).plain != text.replace("\\[", "[")] == []


def test_a_missing_package_is_named(capsys: pytest.CaptureFixture[str],
                                    plugins: list[EntryPoint]) -> None:
    plugins.append(EntryPoint("dream", "no_such_package:command", cli.COMMANDS))
    assert cli.main(["dream", "--deep", "sleep"]) == 2
    assert "dream needs a package that is not installed" in capsys.readouterr().err


def test_other_commands(capsys: pytest.CaptureFixture[str], plugins: list[EntryPoint]) -> None:
    plugins.append(EntryPoint("greet", f"{__name__}:greet", cli.COMMANDS))
    plugins.append(EntryPoint("talk", f"{__name__}:group", cli.COMMANDS))
    assert cli.main(["greet", "--name", "world"]) == 0
    assert cli.main(["talk", "two"]) == 0
    assert capsys.readouterr().out == "hello world\nhello you\n"


def test_own_commands_load_no_others(model: str, plugins: list[EntryPoint],
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: EntryPoint) -> None:
        raise AssertionError(f"{self.name} was loaded")

    plugins.append(EntryPoint("dream", "no_such_package:command", cli.COMMANDS))
    monkeypatch.setattr(EntryPoint, "load", load)
    assert cli.main(["info", model]) == 0


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["frobnicate"]) == 2
    assert "No such command 'frobnicate'" in capsys.readouterr().err


# ---- Interrupts and pipes


def test_ctrl_c(model: str, monkeypatch: pytest.MonkeyPatch,
                capsys: pytest.CaptureFixture[str]) -> None:
    """The device is stopped, the line ends, and the status is that of an interrupt."""
    stopped: list[bool] = []

    class Interrupting(ReferenceTransport):
        reads = 0

        def read(self, timeout_s: float) -> bytes:
            self.reads += self._running
            if self.reads == 20:
                self.reads += 1
                raise KeyboardInterrupt
            return super().read(timeout_s)

        def close(self) -> None:
            stopped.append(not self._running)

    install(monkeypatch, lambda options: Interrupting())
    assert cli.main(["generate", "-p", "A", "-m", model, "-n", "200", "--target", "fake"]) == 130
    out, err = capsys.readouterr()
    assert err == "Interrupted.\n"
    assert MODEL.decode(expected("A", 200, 0.8, 0)).startswith(out[:-1])
    assert 1 < len(out) < 200
    assert stopped == [True]


def test_ctrl_c_loses_no_text(model: str, monkeypatch: pytest.MonkeyPatch,
                              capsys: pytest.CaptureFixture[str]) -> None:
    """Texts that would be shown at the end are shown as far as they came."""
    interrupted = False

    class Interrupting(ReferenceTransport):
        def read(self, timeout_s: float) -> bytes:
            nonlocal interrupted
            if self._tokens == 100 and not interrupted:
                interrupted = True
                raise KeyboardInterrupt
            return super().read(timeout_s)

    install(monkeypatch, lambda options: Interrupting())
    assert cli.main(["generate", "-p", "A", "-p", "B", "-m", model, "-n", "200",
                     "--target", "fake"]) == 130
    texts = capsys.readouterr().out[:-1].split("\n\n")
    for number, (prompt, text) in enumerate(zip("AB", texts, strict=True)):
        assert 40 < len(text) < 60
        assert (prompt + MODEL.decode(expected(prompt, 200, 0.8, number))).startswith(text)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_interrupt_of_the_process(model: str) -> None:
    with subprocess.Popen([*RUN, "generate", "-p", "A", "-n", "1000000", "-q", "-m", model],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(5)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == b"Interrupted.\n"


def test_closed_pipe(model: str) -> None:
    with subprocess.Popen([*RUN, "generate", "-p", "A", "-n", "1000000", "-q", "-m", model],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(5)
        process.stdout.close()
        err = process.stderr.read()
        process.wait(timeout=60)
    assert err == b""


def test_characters_that_stdout_lacks(tmp_path: Path) -> None:
    model = Model.random(ModelConfig(vocab_size=200, d_model=48, n_layers=1, d_hidden=60), 5)
    path = tmp_path / "model.safetensors"
    model.save(path)
    result = subprocess.run(
        [*RUN, "generate", "-p", "A", "-n", "40", "-t", "4", "-q", "-m", str(path)],
        capture_output=True, check=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert b"?" in result.stdout
    assert len(result.stdout.decode("ascii")) == 41


@pytest.mark.parametrize("command", [
    ["generate", "-p", "A", "--json"], ["demo", "--web", "--out"], ["score", "x", "--json"],
    ["train", "--corpus", "x", "--out"],
    ["train", "--corpus", "x", "--out", "m.safetensors", "--checkpoint"],
], ids=" ".join)
def test_what_cannot_be_written_is_said_first(
        command: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    """Before the corpus, which is not there, is read, or anything is computed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: (
        Path(path).name != "other" and allowed(path, mode)))
    assert cli.main([*command, "other/a"]) == 2
    assert "you may not write there" in capsys.readouterr().err


def test_a_folder_is_no_file_to_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", "-p", "A", "--json", str(tmp_path)]) == 2
    assert "it is a folder; name a file in it" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "text"), [
    (["mutation", "show"], '{"a":' * 9000), (["explore"], "a = " + "[" * 9000),
    (["train", "--corpus", "x", "--out", "m.safetensors", "--recipe"], "a = " + "[" * 9000)],
    ids=lambda value: value[0])
def test_a_file_that_nests_deep(command: list[str], text: str, tmp_path: Path,
                                monkeypatch: pytest.MonkeyPatch,
                                capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep.toml").write_text(text)
    assert cli.main([*command, "deep.toml"]) == 2
    shown = capsys.readouterr().err
    assert "nests its lists or objects deeper" in shown or "recursion depth" in shown
    assert "fault of Trilight" not in shown


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each command with what is typed for it."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))
    if path and not hasattr(command, "commands"):
        yield path, command


def test_no_command_takes_a_seed_below_zero() -> None:
    """NumPy's generators refuse one; the others say so when they check what is asked for."""
    found = {path: option.min for path, command in commands(typer.main.get_command(cli._build([])))
             for option in command.params if "--seed" in option.opts}
    assert len(found) > 10
    for path, minimum in found.items():
        if path[0] not in ("generate", "chat", "bench", "flash"):
            assert minimum == 0, path


@pytest.mark.parametrize("command", [["generate", "-p", "R"], ["chat"], ["bench"]])
def test_a_seed_below_zero_is_none(command: list[str],
                                   capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*command, "--seed", "-1"]) == 2
    assert "seed must be in [0, 4294967295], not -1" in capsys.readouterr().err


def test_every_command_is_in_a_group() -> None:
    grouped = [name for names in cli.GROUPS.values() for name in names]
    assert sorted(grouped) == sorted({*(command.__name__ for command in cli.OWN),
                                      *entry_points(group=cli.COMMANDS).names})


def test_help_shows_the_groups(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert re.findall(r"^\W*─ ([A-Z][\w ]+) ─", out, flags=re.MULTILINE) == [
        "Options", *cli.GROUPS]


@pytest.mark.parametrize(("old", "new"), RENAMED_OPTIONS.items())
def test_an_option_of_an_earlier_release_says_what_it_is_called_now(
        old: str, new: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--corpus", "x", f"{old}=1"]) == 2
    assert f"{old} is now called {new};" in capsys.readouterr().err
