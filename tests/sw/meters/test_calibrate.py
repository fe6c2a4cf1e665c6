"""The guided calibration, with a board and a meter that are made up."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from trilight.sw.errors import CalibrationError, MeterError
from trilight.sw.meters import Recording, open_meter
from trilight.sw.meters.calibrate import Calibration, check_meter
from trilight.sw.meters.correction import CorrectedMeter, Correction, correction_from
from trilight.sw.meters.fake import FakeMeter, SimulatedClock
from trilight.sw.meters.guide import Guide, GuidedDesign, Pretence
from trilight.sw.power import Activity, CoefficientSet, estimate_power, load_coefficients
from trilight.sw.power.fit import Point

PRIOR = load_coefficients()
OHMS = 120.0


def activity(**events: float) -> Activity:
    names = ("clock_nets", "ff_clocked", "net_transitions", "ebr_accesses", "spram_accesses",
             "dsp_ops", "io_edges")
    return Activity(cycles=1000, **{name: events.get(name, 0.0) for name in names})


POINTS = [Point(name=f"{name}@{mhz}MHz", clock_hz=mhz * 1e6, activity=counts)
          for mhz in (48, 24, 12) for name, counts in {
              "clock": activity(clock_nets=1, ff_clocked=64),
              "ff": activity(clock_nets=1, ff_clocked=2048),
              "net": activity(clock_nets=1, ff_clocked=500, net_transitions=700),
              "memory": activity(clock_nets=1, ff_clocked=64, net_transitions=80,
                                 ebr_accesses=8, spram_accesses=4),
              "ebr": activity(clock_nets=1, ff_clocked=64, net_transitions=80, ebr_accesses=8),
              "dsp": activity(clock_nets=1, ff_clocked=64, net_transitions=60, dsp_ops=6),
          }.items()]

MACHINE = GuidedDesign(
    busy=activity(clock_nets=1, ff_clocked=1500, net_transitions=600, ebr_accesses=12,
                  spram_accesses=3.5, dsp_ops=2),
    idle=activity(clock_nets=1, ff_clocked=1500, net_transitions=4),
    clock_hz=24e6, pll=False, cycles_per_token=18_254)

def true_power(bench: "Bench") -> float:
    """Watts of the accelerator by the secret coefficients."""
    return estimate_power(MACHINE.busy, MACHINE.clock_hz, voltage_v=1.2,
                          coefficients=bench.pretence.truth).nominal_mw * 1e-3


class Bench:
    """A dry run in a folder."""

    def __init__(self, folder: Path, *, spec: str = "fake:core,noise=0.003",
                 calibration: Calibration | None = None) -> None:
        self.clock = SimulatedClock()
        self.meter = open_meter(spec, clock=self.clock)
        self.pretence = Pretence(self.meter, POINTS, MACHINE, PRIOR, self.clock)
        self.flashed: list[str | None] = []
        self.console = Console(record=True, width=100)
        self.state = folder / "calibration.json"
        self.guide = Guide(
            calibration=calibration or Calibration.begin(spec, "none"), state=self.state,
            meter=self.meter, points=POINTS, prior=PRIOR, accelerator=MACHINE,
            flash=self.flash, generate=self.pretence.generate, console=self.console,
            clock=self.clock)

    def flash(self, name: str | None) -> None:
        self.flashed.append(name)
        self.pretence.flash(name)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_finds_the_secret(bench: Bench) -> None:
    """Coefficients within 10 % where a design shows them, the accelerator within 3 %."""
    guide = bench.guide
    guide.announce()
    guide.check_meter(OHMS, 0.001, bench.pretence.connect(OHMS))
    guide.run_points()
    fitted = guide.fit_coefficients()
    assert fitted.reference_voltage_v == pytest.approx(1.2)  # as metered, not as published
    tried = guide.try_accelerator(fitted)
    assert bench.flashed == [*(point.name for point in POINTS), None]
    for name in ("clock", "net", "spram", "ebr"):
        true = bench.pretence.truth.coefficients[name].value
        assert fitted.coefficients[name].value == pytest.approx(true, rel=0.1)
        published = PRIOR.coefficients[name].value
        assert abs(fitted.coefficients[name].value - true) < abs(published - true)
    truth = true_power(bench)
    assert tried.measured_w == pytest.approx(truth, rel=0.005)
    assert abs(tried.error) < 0.03
    assert tried.error == tried.predicted_w / tried.measured_w - 1
    assert tried.stated_uncertainty == pytest.approx(
        math.hypot(tried.error, tried.measured_u_k2_w / tried.measured_w))
    text = bench.console.export_text()
    assert text.index("predicted:") < text.index("measured:") < text.index("Predicted / measured")


def test_result_is_kept_with_its_error(bench: Bench) -> None:
    guide = bench.guide
    final = guide.run()
    read = CoefficientSet.from_json(final.to_json())
    kept = json.loads(bench.state.read_text())
    assert read.conditions["accelerator"] == kept["accelerator"]
    assert kept["accelerator"]["error"] == kept["accelerator"]["predicted_w"] / kept[
        "accelerator"]["measured_w"] - 1
    assert kept["prediction"]["utc"] <= kept["accelerator"]["utc"]
    assert read.conditions["meter"]["type"] == "fake"


def test_prediction_is_kept_before_the_measurement(bench: Bench) -> None:
    guide = bench.guide
    guide.run_points()
    fitted = guide.fit_coefficients()

    def flash(_name: str | None) -> None:
        kept = Calibration.load(bench.state)
        assert kept.prediction is not None
        assert kept.accelerator is None
        raise KeyboardInterrupt

    guide.flash = flash
    with pytest.raises(KeyboardInterrupt):
        guide.try_accelerator(fitted)


def test_settles_and_averages(bench: Bench) -> None:
    times: list[float] = []
    bench.guide.flash = lambda name: (times.append(bench.clock.now()), bench.flash(name))[1]
    bench.guide.run_points()
    assert np.diff(times) == pytest.approx(10 + 5 * 10)
    readings = bench.guide.calibration.readings
    assert all(len(reading.runs_w) == 5 for reading in readings.values())
    for reading in readings.values():
        assert reading.watts == pytest.approx(np.mean(reading.runs_w))
        # The meter's own limit is in, whatever the scatter.
        assert reading.sigma_w > 0.002 / math.sqrt(3) * reading.watts


def test_goes_on_after_an_interruption(tmp_path: Path) -> None:
    first = Bench(tmp_path)

    def flash(name: str | None) -> None:
        if len(first.flashed) == 4:
            raise KeyboardInterrupt
        first.flash(name)

    first.guide.flash = flash
    with pytest.raises(KeyboardInterrupt):
        first.guide.run_points()
    kept = Calibration.resume(first.state, meter="fake:core,noise=0.003", board="none")
    assert list(kept.readings) == [point.name for point in POINTS[:4]]
    second = Bench(tmp_path, calibration=kept)
    second.guide.announce()
    second.guide.run_points()
    assert "14 of 18 designs" in second.console.export_text()
    assert second.flashed == [point.name for point in POINTS[4:]]
    assert list(Calibration.load(second.state).readings) == [point.name for point in POINTS]


def test_another_meter_does_not_go_on(bench: Bench) -> None:
    bench.guide.save()
    with pytest.raises(CalibrationError, match=r"is of meter 'fake:core,noise=0\.003' on board"):
        Calibration.resume(bench.state, meter="ina226:1/0x40,shunt=1.0", board="none")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema": "other"}',
                                  '{"schema": "trilight/calibration/v1"}'])
def test_damaged_state(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(CalibrationError, match="no calibration"):
        Calibration.load(path)


def test_state_is_whole(bench: Bench) -> None:
    guide = bench.guide
    guide.check_meter(OHMS, 0.001, bench.pretence.connect(OHMS))
    guide.run_points()
    guide.try_accelerator(guide.fit_coefficients())
    assert asdict(Calibration.load(bench.state)) == asdict(guide.calibration)


def test_fit_needs_every_reading(bench: Bench) -> None:
    with pytest.raises(CalibrationError, match="there is no reading of clock@48MHz, ff@48MHz"):
        bench.guide.fit_coefficients()


def test_only_the_core_is_calibrated(tmp_path: Path) -> None:
    bench = Bench(tmp_path, spec="fake:board")
    with pytest.raises(CalibrationError, match="says it meters board; wire it into the core rail"):
        bench.guide.run_points()
    assert not bench.flashed


def test_dry_run_needs_the_fake_meter() -> None:
    with pytest.raises(CalibrationError, match="a dry run needs the meter fake"):
        Pretence(open_meter("manual"), POINTS, MACHINE, PRIOR, SimulatedClock())


def test_meter_on_another_clock(tmp_path: Path) -> None:
    bench = Bench(tmp_path, spec="fake:drifting")
    with pytest.raises(MeterError, match="not a recording on another clock"):
        bench.guide.run_points()


class WrongMeter(FakeMeter):
    """Reads a factor too much and an offset on top, as with a shunt that is not what it says."""

    gain, offset = 1.03, 0.0004

    def stop(self) -> Recording:
        recording = super().stop()
        assert recording.amperes is not None
        amperes = self.gain * recording.amperes + self.offset
        return replace(recording, amperes=amperes, watts=recording.volts * amperes)


def wrong_meter(bench: Bench) -> WrongMeter:
    assert isinstance(bench.meter, FakeMeter)
    meter = bench.meter
    meter.__class__ = WrongMeter
    assert isinstance(meter, WrongMeter)
    return meter


def test_known_load_corrects_the_meter(bench: Bench) -> None:
    meter = wrong_meter(bench)
    correction = check_meter(meter, ohms=OHMS, tolerance=0.001, clock=bench.clock,
                             ask=bench.pretence.connect(OHMS))
    assert correction.gain == pytest.approx(1 / meter.gain, rel=1e-3)
    assert correction.offset_a == pytest.approx(meter.offset, abs=5e-6)
    assert correction.u_gain == pytest.approx(0.001 / math.sqrt(3), rel=0.1)
    assert correction.warning is None
    bench.guide.calibration.correction = correction
    bench.guide.run_points()
    for name, reading in bench.guide.calibration.readings.items():
        bench.flash(name)
        assert reading.watts == pytest.approx(meter.profile.busy, abs=3 * reading.sigma_w)
    metadata = bench.guide.calibration.metadata
    assert metadata is not None
    assert metadata["calibration"].startswith("120 ohm (0.001 relative tolerance)")
    assert metadata["gain_limit"] == pytest.approx(correction.u_gain * math.sqrt(3))


def test_shunt_of_another_value_is_said(bench: Bench) -> None:
    """A module whose 10 milliohm are 21 in effect reads 2.1 times the current."""
    meter = wrong_meter(bench)
    meter.gain = 2.1
    correction = check_meter(meter, ohms=OHMS, tolerance=0.01, clock=bench.clock,
                             ask=bench.pretence.connect(OHMS))
    assert correction.warning is not None
    assert "reads 2.100 times the current" in correction.warning


def test_resistor_that_is_not_connected(bench: Bench) -> None:
    meter = bench.meter
    assert isinstance(meter, FakeMeter)
    meter.profile = replace(meter.profile, idle=0.0, busy=0.0)
    meter.profile = replace(meter.profile, noise=0.0)
    with pytest.raises(MeterError, match="is hardly above that of the open circuit"):
        check_meter(meter, ohms=OHMS, tolerance=0.01, ask=lambda _text: None, clock=bench.clock)


@pytest.mark.parametrize("ohms", [0.0, -1.0, math.nan, math.inf])
def test_impossible_resistor(bench: Bench, ohms: float) -> None:
    bench.meter.start()
    recording = bench.meter.stop()
    with pytest.raises(MeterError, match="must be a positive number of ohms"):
        correction_from(recording, recording, ohms=ohms, tolerance=0.01)


def test_a_meter_that_is_connected_the_wrong_way_round(bench: Bench) -> None:
    bench.meter.start()
    bench.clock.sleep(1)
    recording = bench.meter.stop()
    assert recording.volts is not None
    assert recording.amperes is not None
    opened = replace(recording, amperes=0 * recording.amperes)
    loaded = replace(recording, volts=-recording.volts, amperes=0 * recording.amperes + 1)
    with pytest.raises(MeterError, match="connected the right way round"):
        correction_from(opened, loaded, ohms=OHMS, tolerance=0.01)


def test_uncertainties_of_a_known_load_are_those_of_its_readings(bench: Bench) -> None:
    """Of two recordings that scatter by different amounts, from readings that are written out."""
    bench.meter.start()
    bench.clock.sleep(1)
    recording = bench.meter.stop()
    ohms, tolerance = 100.0, 0.01
    opened_a, loaded_a = np.array([4.0, 5.0, 6.0]) * 1e-4, np.array([10.5, 11.0, 11.5]) * 1e-3

    def of(amperes: np.ndarray) -> Recording:
        return replace(recording, t_s=np.arange(3.0), volts=np.full(3, 1.25), amperes=amperes,
                       watts=1.25 * amperes)

    got = correction_from(of(opened_a), of(loaded_a), ohms=ohms, tolerance=tolerance)
    u_opened, u_loaded = 1e-4 / math.sqrt(3), 5e-4 / math.sqrt(3)
    current = 11e-3 - 5e-4
    assert got.offset_a == pytest.approx(5e-4)
    assert got.u_offset_a == pytest.approx(u_opened)
    assert got.gain == pytest.approx(1.25 / ohms / current)
    assert got.u_gain == pytest.approx(math.hypot(
        tolerance / math.sqrt(3), u_opened / current, u_loaded / current))
    fixed = got.apply(of(loaded_a))
    assert fixed.metadata.gain_limit == pytest.approx(got.u_gain * math.sqrt(3))
    assert fixed.metadata.offset_limit_w == pytest.approx(1.25 * 1e-4)


CORRECTION = Correction(gain=0.97, offset_a=0.0004, u_gain=0.001, u_offset_a=1e-6, method="test",
                        meter="fake", utc="2026-01-01")


def test_correction_is_a_setting_of_every_meter(tmp_path: Path) -> None:
    path = tmp_path / "correction.json"
    CORRECTION.save(path)
    clock = SimulatedClock()
    meter = open_meter(f"fake:core,noise=0,correction={path}", clock=clock)
    assert isinstance(meter, CorrectedMeter)
    meter.start()
    clock.sleep(1.0)
    recording = meter.stop()
    reading = 0.004 / 1.2
    assert recording.amperes is not None
    assert recording.amperes == pytest.approx(0.97 * (reading - 0.0004))
    assert recording.watts == pytest.approx(1.2 * recording.amperes)
    assert recording.metadata.calibration == "test, 2026-01-01"


@pytest.mark.parametrize("text", [None, "", "{}", '{"gain": 1}'])
def test_damaged_correction(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "correction.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(MeterError, match="correction"):
        open_meter(f"fake:core,correction={path}")


def test_correction_needs_a_current() -> None:
    recording = open_meter("fake:core")
    recording.start()
    with pytest.raises(MeterError, match="needs a meter that records volts"):
        CORRECTION.apply(replace(recording.stop(), amperes=None))
