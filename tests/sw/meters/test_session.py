"""Measurements from end to end on a clock that does not wait, with all that can go wrong."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trilight.sw.errors import LinkError, MeterError
from trilight.sw.meters import Measurement, Recording, SessionLog, measure, open_meter
from trilight.sw.meters.align import Alignment, align
from trilight.sw.meters.analysis import student_factor
from trilight.sw.meters.fake import PROFILES, FakeMeter, SimulatedClock
from trilight.sw.meters.session import finish

TOKENS_PER_S = 1310
LATE_S = 0.013
"""A generator ends with a token, not with the second."""


class Run:
    """A measurement with a fake meter."""

    def __init__(self, folder: Path, spec: str) -> None:
        self.clock = SimulatedClock()
        self.meter = open_meter(spec, clock=self.clock)
        self.log = folder / "session.json"
        self.calls = 0

    def generate(self, seconds: float) -> int:
        self.calls += 1
        self.clock.sleep(seconds + LATE_S)
        return round(TOKENS_PER_S * (seconds + LATE_S))

    def measure(self, **settings: float) -> Measurement:
        # Settings of any name, and mypy does not know which parameter each one is.
        return measure(self.meter, self.generate, clock=self.clock, log=self.log,
                       **settings)  # type: ignore[arg-type]


def true_joules_per_token(spec: str) -> float:
    meter = open_meter(spec)
    assert isinstance(meter, FakeMeter)
    return meter.profile.busy / TOKENS_PER_S


def check(result: Measurement, spec: str) -> None:
    """Result within its own uncertainty, total and above idle."""
    meter = open_meter(spec)
    assert isinstance(meter, FakeMeter)
    for quantity, true_w in ((result.joules_per_token, meter.profile.busy),
                             (result.above_idle, meter.profile.busy - meter.profile.idle)):
        assert quantity.value is not None
        assert quantity.u_k2 is not None
        assert abs(quantity.value - true_w / TOKENS_PER_S) < quantity.u_k2
        assert quantity.u_k2 < 0.1 * quantity.value


@pytest.fixture
def clean(tmp_path: Path) -> Measurement:
    return Run(tmp_path, "fake:core").measure()


@pytest.mark.parametrize("rate", ["0", "1e99"])
def test_rate_that_no_meter_has(rate: str, tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="rate must be above zero, at most 1,000,000 a second"):
        Run(tmp_path, f"fake:core,rate={rate}")


def test_result(tmp_path: Path) -> None:
    run = Run(tmp_path, "fake:core")
    ticks: list[tuple[int, int]] = []
    result = measure(run.meter, run.generate, clock=run.clock, log=run.log,
                     progress=lambda done, total: ticks.append((done, total)))
    check(result, "fake:core")
    assert run.calls == 6  # warm-up and five windows
    assert len(result.joules_per_token.runs) == 5
    assert result.joules_per_token.value == sorted(result.joules_per_token.runs)[2]
    assert result.tokens_per_s == pytest.approx(TOKENS_PER_S, rel=1e-4)
    assert result.boundary == "fpga_core"
    assert all(window.seconds >= 10 for window in result.windows)
    assert ticks == sorted(ticks)
    assert ticks[-1][0] == ticks[-1][1]


def test_made_up_readings_are_not_measured(clean: Measurement) -> None:
    assert clean.provenance == "assumed"
    assert "the readings are made up: this is no measurement" in clean.warnings


def test_json(clean: Measurement) -> None:
    data = json.loads(json.dumps(clean.to_dict()))
    assert set(data["joules_per_token"]) == set(data["above_idle"]) == {"value", "u_k2", "runs"}
    assert data["joules_per_token"]["value"] == clean.joules_per_token.value
    assert data["meter"]["raw_sha256"] == clean.meter.raw_sha256
    assert data["windows"][0]["joules"] == clean.windows[0].joules
    assert {"idle_w", "active_w", "boundary", "provenance", "warnings"} <= set(data)


def test_above_idle_is_the_total_less_idle(clean: Measurement) -> None:
    assert clean.idle_w is not None
    for total, above, window in zip(clean.joules_per_token.runs, clean.above_idle.runs,
                                    clean.windows, strict=True):
        assert above == pytest.approx(total - clean.idle_w * window.seconds / window.tokens)


def test_budget_adds_up(clean: Measurement) -> None:
    assert clean.joules_per_token.u_k2 == pytest.approx(2 * math.hypot(*clean.budget.values()))


def test_meters_gain_is_in_the_uncertainty(tmp_path: Path) -> None:
    result = Run(tmp_path, "fake:core,gain=0.05").measure()
    value = result.joules_per_token.value
    assert value is not None
    assert result.budget["gain"] == pytest.approx(0.05 / math.sqrt(3) * value)
    assert (result.joules_per_token.u_k2 or 0) > 2 * result.budget["gain"]


def test_readings_are_deterministic(tmp_path: Path) -> None:
    first, second = (Run(tmp_path, "fake:board").measure() for _ in range(2))
    assert first.to_dict() == second.to_dict()
    assert Run(tmp_path, "fake:board,seed=2").measure().to_dict() != first.to_dict()


def test_idle_that_drifts_is_said(tmp_path: Path) -> None:
    run = Run(tmp_path, "fake:core")
    run.measure()
    session = SessionLog.load(run.log)
    recording = session.recording
    assert recording is not None
    recording.watts[recording.t_s < 10.0] += 0.003
    assert any("idle power changed" in warning for warning in finish(session).warnings)


@pytest.mark.parametrize("kind", ["idle", "warm-up", "window"])
@pytest.mark.parametrize("seconds", [0.0, -34.0, math.nan])
def test_a_phase_that_takes_no_time_is_refused(tmp_path: Path, kind: str, seconds: float) -> None:
    run = Run(tmp_path, "fake:core")
    run.measure()
    session = SessionLog.load(run.log)
    number = next(k for k, phase in enumerate(session.phases) if phase.kind == kind)
    phase = session.phases[number]
    session.phases[number] = replace(phase, end_s=phase.start_s + seconds)
    with pytest.raises(MeterError, match="a phase must take time, not end at"):
        finish(session)


class TestDropouts:
    def test_gap_widens_the_uncertainty(self, tmp_path: Path, clean: Measurement) -> None:
        result = Run(tmp_path, "fake:core,gap=1.5").measure()
        check(result, "fake:core")
        assert any("window 2 has 1.5" in warning for warning in result.warnings)
        assert result.windows[1].gap_s == pytest.approx(1.5, abs=0.03)
        assert result.budget["window"] > 3 * clean.budget["window"]

    def test_large_gap_leaves_the_window_out(self, tmp_path: Path) -> None:
        result = Run(tmp_path, "fake:core,gap=4").measure()
        check(result, "fake:core")
        assert len(result.joules_per_token.runs) == 4
        assert any(warning.startswith("left out: window 2: 4.0") for warning in result.warnings)


class TestUnplugged:
    def test_after_three_windows_there_is_a_result(self, tmp_path: Path) -> None:
        run = Run(tmp_path, "fake:core,unplug=62")
        result = run.measure()
        check(result, "fake:core")
        assert len(result.joules_per_token.runs) in (3, 4)
        assert any("unplugged" in warning for warning in result.warnings)
        assert run.calls < 6  # no minute more for nothing

    def test_before_that_the_data_are_kept(self, tmp_path: Path) -> None:
        run = Run(tmp_path, "fake:unplugged")
        with pytest.raises(MeterError, match=r"2 of 2 windows.*unplugged.*session\.json"):
            run.measure()
        kept = SessionLog.load(run.log)
        assert kept.recording is not None
        limit = PROFILES["unplugged"].unplug
        assert kept.recording.t_s[-1] == pytest.approx(limit, abs=0.02)
        assert kept.interrupted is not None
        assert [phase.name for phase in kept.phases if phase.kind == "window"] == [
            "window 1", "window 2"]


def test_clock_that_drifts(tmp_path: Path) -> None:
    """Clocks that differ by far more than quartzes do."""
    for ppm in (350, 3000):
        result = Run(tmp_path, f"fake:core,drift={ppm}").measure()
        check(result, "fake:core")
        assert result.alignment.drift_ppm == pytest.approx(ppm, abs=4e6 * result.alignment.u_s / 40)
        assert any("clock runs" in warning for warning in result.warnings)
        assert result.alignment.u_s < 0.02


class TestSaturated:
    def test_is_refused_and_kept(self, tmp_path: Path) -> None:
        run = Run(tmp_path, "fake:saturated")
        with pytest.raises(MeterError, match="end of the meter's range; choose a wider range"):
            run.measure()
        kept = SessionLog.load(run.log)
        assert kept.recording is not None
        assert kept.recording.amperes is not None
        assert kept.recording.amperes.max() == PROFILES["saturated"].range

    def test_a_reading_now_and_then_is_said(self, tmp_path: Path, clean: Measurement) -> None:
        profile = PROFILES["core"]
        # 2.7 standard deviations of the noise: 0.35 % of the readings.
        limit = profile.busy * (1 + 2.7 * profile.noise) / profile.volts
        result = Run(tmp_path, f"fake:core,range={limit}").measure()
        check(result, "fake:core")
        assert any("end of the meter's range" in warning for warning in result.warnings)
        assert result.budget["window"] > clean.budget["window"]


class TestSlow:
    def test_few_readings(self, tmp_path: Path, clean: Measurement) -> None:
        result = Run(tmp_path, "fake:slow").measure()
        check(result, "fake:slow")
        assert any("slow for the windows" in warning for warning in result.warnings)
        assert (result.joules_per_token.u_k2 or 0) > 2 * (clean.joules_per_token.u_k2 or 0)

    def test_windows_without_readings(self, tmp_path: Path) -> None:
        run = Run(tmp_path, "fake:silent")
        with pytest.raises(MeterError, match="no readings; the meter gives one every 50 s"):
            run.measure()
        assert SessionLog.load(run.log).recording is not None


def test_no_tokens(tmp_path: Path) -> None:
    run = Run(tmp_path, "fake:core")

    def generate(seconds: float) -> int:
        run.clock.sleep(seconds)
        return 0

    with pytest.raises(MeterError, match="no tokens were generated"):
        measure(run.meter, generate, clock=run.clock, log=run.log)


@pytest.mark.parametrize("error", [LinkError("the board has gone"), KeyboardInterrupt()])
def test_what_stops_the_device_keeps_the_data(tmp_path: Path, error: BaseException) -> None:
    run = Run(tmp_path, "fake:core")
    said: list[str] = []

    def generate(seconds: float) -> int:
        if run.calls == 3:
            raise error
        return run.generate(seconds)

    with pytest.raises(type(error)):
        measure(run.meter, generate, clock=run.clock, log=run.log, notify=said.append)
    kept = SessionLog.load(run.log)
    assert sum(phase.kind == "window" for phase in kept.phases) == 2
    assert kept.recording is not None
    assert np.any(kept.recording.t_s > kept.phases[-1].start_s)
    assert said == [f"What was measured so far is kept in {run.log}"]


def test_without_a_name_the_session_goes_into_this_folder(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = Run(tmp_path, "fake:silent")
    with pytest.raises(MeterError, match="trilight-session-"):
        measure(run.meter, run.generate, clock=run.clock)
    assert next(path.name for path in tmp_path.iterdir()).startswith("trilight-session-")
    assert not run.log.exists()


def test_log_gives_the_same_result_again(tmp_path: Path) -> None:
    run = Run(tmp_path, "fake:drifting")
    result = run.measure()
    assert finish(SessionLog.load(run.log)).to_dict() == result.to_dict()


@pytest.mark.parametrize("settings", [{"windows": 0}, {"seconds": 0.0}, {"idle_seconds": -1.0}])
def test_impossible_protocol(tmp_path: Path, settings: dict[str, float]) -> None:
    run = Run(tmp_path, "fake:core")
    with pytest.raises(MeterError, match="a measurement takes one window or more"):
        run.measure(**settings)
    assert run.calls == 0


def test_short_windows_are_said(tmp_path: Path) -> None:
    result = Run(tmp_path, "fake:core").measure(seconds=2.0)
    assert "windows are shorter than 10 s" in result.warnings


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema": "other"}', '{"schema": 1}'])
def test_damaged_log(tmp_path: Path, text: str) -> None:
    path = tmp_path / "session.json"
    path.write_text(text)
    with pytest.raises(MeterError, match="session"):
        SessionLog.load(path)


@pytest.mark.parametrize(("n", "quantile", "error"), [
    (3, 4.303, 0.04), (4, 3.182, 0.01), (5, 2.776, 0.004), (10, 2.2622, 4e-4), (31, 2.0423, 1e-4)])
def test_student_factor(n: int, quantile: float, error: float) -> None:
    """Against the published table of the 97.5 % quantile; the expansion's error falls with n."""
    assert student_factor(n) == pytest.approx(quantile / 1.95996, rel=error)


def recording_of(phases: list[tuple[float, float]], *, offset_s: float) -> Recording:
    """Made-up watts of 100 readings a second on a clock of its own, 1 W busy and 0.2 W idle."""
    made = open_meter("fake:core", clock=SimulatedClock())
    made.start()
    t_s = np.arange(0.0, phases[-1][1] + 5, 0.01)
    watts = np.full(t_s.size, 0.2)
    for begin, end in phases:
        watts[(t_s >= begin) & (t_s < end)] = 1.0
    return replace(made.stop(), t_s=t_s - offset_s, watts=watts, volts=None, amperes=None,
                   clock="own", marks=())


def test_alignment_knows_its_uncertainty() -> None:
    """Steps that are exact leave the reading's interval, spread evenly, averaged over steps."""
    phases = [(5.0, 9.0), (11.0, 18.0), (21.0, 30.0)]
    moved, found = align(recording_of(phases, offset_s=300.0), phases, 0.0, 35.0)
    assert found.steps == 6
    assert found.offset_s == pytest.approx(300, abs=0.01)
    assert abs(found.drift_ppm) < 500
    assert found.u_s == pytest.approx(0.01 / math.sqrt(12 * 6))
    assert moved.sync_u_s == found.u_s
    assert moved.t_s[0] == pytest.approx(0, abs=0.02)
    again, found = align(moved, phases, 0.0, 35.0)
    assert again is moved
    assert found == Alignment(moved.metadata.sync, 0.0, 0.0, moved.sync_u_s)
