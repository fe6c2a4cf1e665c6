"""Errors that nobody has caught end in one sentence, whoever they are from, and never in a trace.
"""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from trilight.sw.cli import net, version
from trilight.sw.cli.app import main
from trilight.sw.cli.net import FAILED, FAULT, INTERRUPTED, run
from trilight.sw.cli.version import CHECKOUT
from trilight.sw.errors import PromptError
from trilight.sw.report.releases import load_releases

TRILIGHT = [sys.executable, "-c",
            "import sys; from trilight.sw.cli.entry import main; sys.exit(main())"]


def raising(error: BaseException) -> Callable[[], object]:
    def program() -> object:
        raise error

    return program


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("error", [
    ValueError("a [bracket] and \x1b"), TypeError("no"), AssertionError(), RuntimeError("\udcff"),
    RecursionError("deep"), KeyError("name"), UnicodeEncodeError("ascii", "\u03bc", 0, 1, "no"),
    ModuleNotFoundError("No module named 'trilight.sw.gone'", name="trilight.sw.gone")], ids=repr)
def test_an_unknown_error_is_a_fault_of_ours(error: Exception, folder: Path,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    assert run(raising(error)) == FAULT
    out, said = capsys.readouterr()
    [trace] = folder.iterdir()
    assert out == ""
    assert f"this is a fault of Trilight, not of yours ({type(error).__name__}" in said
    assert f"what happened is in {trace}; please report it" in said
    assert "Traceback" not in said
    assert said.count("\n") == 1
    text = trace.read_text(encoding="utf-8")
    assert "Traceback" in text
    assert f"python: {sys.version}" in text
    assert "test_net.py" in text


def test_a_trace_that_cannot_be_kept_is_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    assert run(raising(ValueError("what"))) == FAULT
    assert capsys.readouterr().err.rstrip().endswith("\nValueError: what")


@pytest.mark.parametrize(("error", "text"), [
    (PromptError("the prompt is empty"), "Error: the prompt is empty"),
    (MemoryError(), "there is not enough memory"),
    (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "no space is left on the disk"),
    (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "f.txt"), "no space is left .*f.txt"),
    (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "no space is left on the disk"),
    (PermissionError(errno.EACCES, "Permission denied", "f.txt"), "f.txt: Permission denied; "),
    (FileNotFoundError(errno.ENOENT, "No such file", b"\xff"), "No such file; check its name"),
    (OSError(errno.EMFILE, "Too many open files"), "the system refuses: Too many open files"),
    (EOFError(), "the input ended"),
    (ModuleNotFoundError("No module named 'cocotb_tools'", name="cocotb_tools"),
     r"the package cocotb, of the extra test .*pip install .trilight\[test\]"),
    (ModuleNotFoundError("No module named 'smbus2'", name="smbus2"),
     r"the package smbus2, of the extra meters .*pip install .trilight\[meters\]"),
    (ModuleNotFoundError("No module named 'serial.tools'", name="serial.tools"),
     r"the package pyserial is missing or damaged .*pip install --force-reinstall"),
    (ImportError("libfoo.so: cannot open shared object file", name="numpy.core"),
     "the package numpy is missing or damaged .*libfoo.so"),
    (ModuleNotFoundError("No module named 'elsewhere'", name="elsewhere"), "trilight doctor"),
], ids=repr)
def test_a_known_error_has_its_sentence(error: Exception, text: str, folder: Path,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    assert run(raising(error)) == FAILED
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert re.search(text, said)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(("program", "status"), [
    (lambda: None, 0), (lambda: 3, 3), (lambda: True, 0), (lambda: "text", 0),
    (raising(SystemExit()), 0), (raising(SystemExit(4)), 4), (raising(SystemExit("said")), 1),
    (raising(KeyboardInterrupt()), INTERRUPTED), (raising(BrokenPipeError()), 141)])
def test_other_ends(program: Callable[[], object], status: int,
                    capsys: pytest.CaptureFixture[str]) -> None:
    assert run(program) == status
    said = capsys.readouterr().err
    assert said in {"", "Error: said\n", "Interrupted.\n"}
    assert (said == "Interrupted.\n") == (status == INTERRUPTED)


@pytest.mark.parametrize("arguments", [
    ["nonsense"], ["generate"], ["generate", "--nonsense"], ["generate", "-p", "R", "-n", "many"],
    ["image", "only-one"], ["evaluate", "--corpus"]], ids=" ".join)
def test_usage_is_told_in_our_own_words(arguments: list[str], capsys: pytest.CaptureFixture[str]
                                        ) -> None:
    assert main(arguments) == FAILED
    out, said = capsys.readouterr()
    assert out == ""
    assert "Usage: trilight" in said or arguments[-1] == "--corpus"
    assert said.splitlines()[-1].startswith("Error: ")


# ---- The program itself


def trilight(*arguments: str, **settings: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*TRILIGHT, *arguments], capture_output=True, text=True, check=False,
                          **{"errors": "replace", **settings})  # type: ignore[call-overload, no-any-return]  # any of them


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-16"])
@pytest.mark.parametrize("command", [["field"], ["info"], ["generate", "-p", "RO", "-n", "5"]],
                         ids=lambda command: command[0])
def test_output_that_is_not_utf_8(command: list[str], encoding: str) -> None:
    done = trilight(*command, env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"})
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
@pytest.mark.parametrize("command", [["info"], ["field"], ["generate", "-p", "RO", "-n", "5"],
                                     ["doctor", "--udev"]], ids=lambda command: command[0])
def test_output_that_is_full(command: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([*TRILIGHT, *command], stdout=full, stderr=subprocess.PIPE,
                              text=True, check=False)
    assert done.returncode == FAILED
    assert [line for line in done.stderr.splitlines() if line.startswith("Error:")] == [
        ("Error: no space is left on the disk (where the output goes); free some there, or write "
         "elsewhere")]
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_reader_who_has_had_enough() -> None:
    with subprocess.Popen([*TRILIGHT, "info"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert said == ""
    assert process.returncode in (1, 141)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("delay_s", [0.15, 0.3, 0.6])
def test_an_interruption_while_importing(delay_s: float) -> None:
    """Wherever it strikes, from when the program's own first line has run."""
    script = ("import sys; from trilight.sw.cli.entry import main; print('begun', flush=True); "
              "sys.exit(main())")
    with subprocess.Popen([sys.executable, "-c", script, "generate", "-p", "R", "-n", "100000"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(delay_s)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == INTERRUPTED
    assert "Traceback" not in said


@pytest.mark.parametrize("command", [["info"], ["generate", "-p", "RO", "-n", "5", "-q"],
                                     ["performance"]], ids=lambda command: command[0])
def test_another_package_called_serial_is_no_matter(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "serial").mkdir()
    (tmp_path / "serial" / "__init__.py").write_text("# of another author\n")
    done = trilight(*command, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 0, done.stderr


def test_a_package_that_everything_needs_is_named(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError('no such library', name='numpy')\n")
    done = trilight("info", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == FAILED
    assert "the package numpy is missing or damaged (no such library)" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_net_needs_no_package() -> None:
    """It is there when others cannot be imported."""
    script = ("import sys; sys.modules['rich'] = None; from trilight.sw.cli.net import run; "
              "sys.exit(run(lambda: 1 / 0))")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                          check=False)
    assert done.returncode == FAULT
    assert done.stderr.startswith("Error: this is a fault of Trilight, not of yours (ZeroDivision")
    assert net.FAULT == FAULT


# ---- What is told of the program itself


def test_the_version_says_what_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    said = capsys.readouterr().out
    release = load_releases()["icebreaker"]
    for name in ("design_sha256", "netlist_sha256", "bitstream_sha256"):
        assert release[name][:12] in said
    assert f"trilight {metadata.version('trilight')}, " in said
    assert f"numpy {metadata.version('numpy')}" in said
    commit = subprocess.run(["git", "-C", str(CHECKOUT), "rev-parse", "HEAD"], check=False,
                            capture_output=True, text=True).stdout.strip()
    assert (f"commit {commit[:12]}" if commit else "commit") in said


def test_a_version_without_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(version, "CHECKOUT", tmp_path)
    assert "commit" in version.version_text().splitlines()[0]


def test_the_report_is_short_unless_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "-p", "RO", "-n", "3"]) == 0
    short = capsys.readouterr().err
    assert main(["generate", "-p", "RO", "-n", "3", "--report"]) == 0
    whole = capsys.readouterr().err
    assert len(short.strip().splitlines()) <= 12
    assert "Ranges are 90 % intervals" in " ".join(whole.split())
    assert "Ranges are 90 % intervals" not in " ".join(short.split())
