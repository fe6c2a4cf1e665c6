"""``trilight power``: tables, files, and what it refuses."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from trilight.hw.flow.build import design_sha256, find_board
from trilight.hw.support.boards import DEFAULT_BOARD
from trilight.sim.power import command as power_command
from trilight.sw.cli.app import main
from trilight.sw.power import estimate_power, load_coefficients
from trilight.sw.power.designs import check_published, load_designs
from trilight.sw.power.evidence import bands_alone
from trilight.sw.power.fit import calibration_points, fit, save_fit
from trilight.sw.power.picture import label
from trilight.sw.report.releases import load_releases


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["power", *arguments])
    out, err = capsys.readouterr()
    return status, out, " ".join(err.split())


def test_three_clocks_with_and_without_pll(
        capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, _ = run(capsys, "--json", str(tmp_path / "p.json"),
                         "--plot", str(tmp_path / "p.svg"))
    assert status == 0
    got = json.loads((tmp_path / "p.json").read_text())
    assert [(p["clock_hz"], p["pll"]) for p in got["points"]] == [
        (12e6, False), (24e6, False), (24e6, True), (48e6, False), (48e6, True)]
    for point in got["points"]:
        for end, other in (("p05", "p95"), ("p50", "p50"), ("p95", "p05")):
            watts = point["power_mw"][end] * 1e-3
            assert point["tokens_per_joule"][other] == pytest.approx(
                point["tokens_per_s"] / watts)
            assert point["nj_per_token"][end] == pytest.approx(
                watts / point["tokens_per_s"] * 1e9)
        assert point["energy"]["total"] == pytest.approx(
            sum(point["split_mw"].values()) / point["tokens_per_s"] * 1e6)
    for name in got["points"][0]["energy"]["parts"]:
        assert label(name) in out
    assert "published" in out
    assert ET.fromstring((tmp_path / "p.svg").read_text()).tag.endswith("svg")


def test_curve(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(capsys, "--json", str(tmp_path / "c.json"),
               "--curve", str(tmp_path / "c.svg"))[0] == 0
    got = json.loads((tmp_path / "c.json").read_text())
    of = {(point["source"], point["clock_hz"]): point["tokens_per_joule"]["p50"]
          for point in got["curve"]}
    for point in got["points"]:
        source = "PLL" if point["pll"] else "the board's oscillator"
        if (source, point["clock_hz"]) in of:
            assert of[source, point["clock_hz"]] == pytest.approx(
                point["tokens_per_joule"]["p50"])
    # Leakage and PLL are shared by more tokens the faster the clock is.
    pll = [of[key] for key in sorted(of) if key[0] == "PLL"]
    assert pll == sorted(pll)
    assert of["internal oscillator (HFOSC)", 48e6] > of["PLL", 48e6]
    drawing = ET.fromstring((tmp_path / "c.svg").read_text())
    assert "tokens per joule" in "".join(drawing.itertext())


def test_conditions_reach_the_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    points = {}
    for name, more in {"cool": (), "warm": ("--temperature", "50"),
                       "low": ("--voltage", "1.14")}.items():
        assert run(capsys, "--clock", "12e6", "--json", str(tmp_path / name), *more)[0] == 0
        [points[name]] = json.loads((tmp_path / name).read_text())["points"]
    assert points["warm"]["split_mw"]["leakage"] == pytest.approx(
        4 * points["cool"]["split_mw"]["leakage"])
    assert points["warm"]["split_mw"]["net"] == points["cool"]["split_mw"]["net"]
    assert points["low"]["split_mw"]["net"] == pytest.approx(
        points["cool"]["split_mw"]["net"] * (1.14 / 1.2) ** 2)


def test_coefficients_of_a_board(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    points = calibration_points()
    prior = load_coefficients()
    fitted = fit(points, [check_watts(p) for p in points], [1e-6] * len(points), prior)
    save_fit(fitted, tmp_path / "board.json")
    status, out, _ = run(capsys, "--coefficients", str(tmp_path / "board.json"))
    assert status == 0
    assert f"{prior.id}-board, board" in out


def check_watts(point: Any) -> float:
    return estimate_power(point.activity, point.clock_hz, hfosc=True, voltage_v=1.219,
                          coefficients=bands_alone(load_coefficients())).nominal_mw * 1e-3


def test_check_names_the_worst() -> None:
    rows = check_published({name: design.activity for name, design in load_designs().items()})
    console = Console(width=200, record=True, quiet=False)
    with console.capture() as capture:
        worst = power_command.print_checks(console, rows)
    text = capture.get()
    assert abs(worst.ratio - 1) == max(abs(row.ratio - 1) for row in rows)
    assert f"Worst ratio of model to measurement: {worst.ratio:.3f}" in text
    assert f"{len(rows)} of {len(rows)} measurements lie in" in text
    assert text.count("yes") == len(rows)


def test_refusals(capsys: pytest.CaptureFixture[str], tmp_path: Path,
                  monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, message in {
        ("--update",): "add --check",
        ("--model", "m.safetensors"): "add --target netlist",
        ("--json", str(tmp_path / "no" / "p.json")): "there is no folder",
        ("--clock", "-1"): "positive number of hertz, at most 1e+09, not -1",
        ("--voltage", "0"): "positive number of volts, at most 2, not 0.0",
        ("--coefficients", str(tmp_path / "none.json")): "cannot be read",
    }.items():
        status, _, err = run(capsys, *arguments)
        assert status == 2
        assert message in err
    release = dict(load_releases()["icebreaker"])
    release["activity"] = {"busy": {}, "idle": {}}
    monkeypatch.setattr(power_command, "load_releases", lambda: {"icebreaker": release})
    status, _, err = run(capsys)
    assert status == 2
    assert "trilight build icebreaker --release" in err


@pytest.mark.slow
def test_check_counts_anew(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, _ = run(capsys, "--check", "--json", str(tmp_path / "check.json"))
    assert status == 0
    got = json.loads((tmp_path / "check.json").read_text())
    assert got["all_inside"]
    assert "another netlist" not in out
    assert got["checks"] == [
        {"name": row.measurement.name, "design": row.measurement.design,
         "measured_mw": row.measurement.measured_mw, "modelled_mw": vars(row.modelled_mw),
         "ratio": row.ratio, "inside": row.inside}
        for row in check_published({n: d.activity for n, d in load_designs().items()})]


@pytest.mark.slow
def test_netlist_gives_what_the_release_has(
        capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    board = find_board(DEFAULT_BOARD)
    if load_releases()[DEFAULT_BOARD]["design_sha256"] != design_sha256(board):
        pytest.skip("the release is of another design, which make release-check is about")
    for target in ("release", "netlist"):
        assert run(capsys, "--target", target, "--json", str(tmp_path / target))[0] == 0
    release, netlist = (json.loads((tmp_path / name).read_text())
                        for name in ("release", "netlist"))
    assert netlist["breakdown"] == release["breakdown"]
