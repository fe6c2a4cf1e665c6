"""``trilight calibrate``, in process."""

import json
from pathlib import Path

import pytest

from trilight.sw import cli
from trilight.sw.meters import calibrate_command
from trilight.sw.meters.calibrate import Calibration
from trilight.sw.power.fit import calibration_points, load_fit
from trilight.sw.report import load_releases


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "150")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = cli.main(["calibrate", *arguments])
    out, err = capsys.readouterr()
    return status, " ".join(out.split()), " ".join(err.split())


def test_dry_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--dry-run")
    assert status == 0
    fitted = load_fit(folder / "dry-run-coefficients.json")
    tried = fitted.conditions["accelerator"]
    assert f"Predicted / measured: {1 + tried['error']:.3f}" in out
    assert abs(tried["error"]) < 0.05
    assert tried["predicted_low_w"] < tried["measured_w"] < tried["predicted_high_w"]
    assert fitted.conditions["meter"]["synthetic"]
    assert fitted.conditions["board"] == "none: dry run"
    state = Calibration.load(folder / "dry-run-calibration.json")
    assert list(state.readings) == [point.name for point in calibration_points()]
    assert sorted(path.name for path in folder.iterdir()) == [
        "dry-run-calibration.json", "dry-run-coefficients.json"]


def test_dry_run_with_noise_and_a_wrong_tolerance(folder: Path,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--dry-run", "--meter", "fake:core,noise=0.02,seed=4",
                         "--tolerance", "0.05")
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
