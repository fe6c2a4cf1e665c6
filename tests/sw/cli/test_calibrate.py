"""``trilight calibrate``, in process."""

import json
import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from trilight.sw.cli import app as cli
from trilight.sw.cli import calibrate as calibrate_command
from trilight.sw.meters.calibrate import Calibration
from trilight.sw.power.fit import calibration_points, load_fit
from trilight.sw.report.releases import load_releases


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "150")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = cli.main(["calibrate", *arguments])
    out, err = capsys.readouterr()
    return status, " ".join(out.split()), " ".join(err.split())


@pytest.fixture(scope="module")
def dry_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Folder and output of a dry run."""
    folder = tmp_path_factory.mktemp("dry")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as out:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "150")
        assert cli.main(["calibrate", "--dry-run"]) == 0
    return folder, [" ".join(line.split()) for line in out.getvalue().splitlines()]


def test_dry_run(dry_run: tuple[Path, list[str]]) -> None:
    folder, lines = dry_run
    fitted = load_fit(folder / "dry-run-coefficients.json")
    tried = fitted.conditions["accelerator"]
    assert any(line.startswith(f"Predicted / measured: {1 + tried['error']:.3f}; ")
               for line in lines)
    assert abs(tried["error"]) < 0.05
    assert tried["predicted_low_w"] < tried["measured_w"] < tried["predicted_high_w"]
    assert fitted.conditions["meter"]["synthetic"]
    assert fitted.conditions["board"] == "none: dry run"
    state = Calibration.load(folder / "dry-run-calibration.json")
    assert list(state.readings) == [point.name for point in calibration_points()]
    assert sorted(path.name for path in folder.iterdir()) == [
        "dry-run-calibration.json", "dry-run-coefficients.json"]


def test_document_shows_what_is_printed(root: Path, dry_run: tuple[Path, list[str]]) -> None:
    """Line by line, but for the numbers, which go with the released build."""
    def form(line: str) -> str:
        return re.sub(r"\d[\d.,]*", "0", " ".join(line.split()))

    printed = [form(line) for line in dry_run[1]]
    text = (root / "docs" / "measuring.md").read_text(encoding="utf-8")
    block = text.split("    $ trilight calibrate --dry-run\n")[1].split("\n\n")[0]
    shown = [form(line).removesuffix(" ...") for line in block.splitlines()]
    assert len(shown) > 20
    for line in shown:
        assert line == "..." or any(full.startswith(line) for full in printed)


def test_dry_run_with_noise_and_a_bad_resistor(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--dry-run", "--meter", "fake:core,noise=0.02,seed=4",
                         "--tolerance", "0.05", "--repeats", "3")
    assert status == 0
    assert "gain to 5.7" in out  # k = 2 of a rectangle of 5 %: 2 x 0.05 / sqrt(3)


@pytest.mark.parametrize(("arguments", "message"), [
    ((), "a calibration needs a meter, as in --meter ina226:1/0x40,shunt=1.0; --dry-run tries"),
    (("--meter", "manual"), "say where it answers, as in --target serial:/dev/ttyUSB1"),
    (("--meter", "manual", "--dry-run"), "a dry run needs the meter fake, not 'manual'"),
    (("--board", "moon"), "there is no board 'moon' with a released build; there is icebreaker"),
    (("--dry-run", "--out", "absent/x.json"), "there is no folder absent"),
    (("--dry-run", "--meter", "fake:board"), "wire it into the core rail"),
])
def test_errors(arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str],
                folder: Path) -> None:
    status, _, err = run(capsys, *arguments)
    assert status == cli.FAILED
    assert message in err
    assert not list(folder.iterdir()) or "core rail" in message


def test_goes_on_with_a_board(folder: Path, capsys: pytest.CaptureFixture[str],
                              monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while a design is flashed, and the same command again."""
    flashed: list[str | None] = []
    limit = 3

    def flash(name: str | None) -> None:
        if len(flashed) == limit:
            raise KeyboardInterrupt
        flashed.append(name)

    monkeypatch.setattr(calibrate_command, "_flasher", lambda _board, _console: flash)
    monkeypatch.setattr(calibrate_command, "SYSTEM_CLOCK", calibrate_command.SimulatedClock())
    monkeypatch.setattr(calibrate_command, "ask_on_terminal", lambda _text: "")
    # Readings of a dry run, as a person would type them.
    board = next(iter(load_releases()))
    arguments = ("--meter", "manual,volts=1.2,busy=0.005,idle=0.005,u=0.00001,boundary=fpga_core",
                 "--target", "reference", "--board", board)
    status, _, err = run(capsys, *arguments)
    assert (status, err) == (cli.INTERRUPTED, "Interrupted.")
    kept = json.loads((folder / "trilight-calibration.json").read_text())
    names = [point.name for point in calibration_points()]
    assert list(kept["readings"]) == flashed == names[:limit]
    limit = 5
    run(capsys, *arguments)
    assert flashed == names[:limit]
