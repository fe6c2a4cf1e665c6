"""Tables of all kinds of instruments, and what is wrong with some."""

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from trilight.sw.errors import MeterError
from trilight.sw.meters import Measurement, Recording, SessionLog, measure, open_meter
from trilight.sw.meters.base import check_plausible
from trilight.sw.meters.csvfile import CsvMeter
from trilight.sw.meters.fake import SimulatedClock
from trilight.sw.meters.session import finish

T = np.arange(200) / 50.0
VOLTS = np.full_like(T, 5.02)
AMPERES = 0.085 + 0.001 * np.sin(T)

SI_HEADER = "Time (s),Voltage (V),Current (A)"


def write(folder: Path, header: str, *columns: np.ndarray, delimiter: str = ",",
          decimal: str = ".", before: str = "") -> Path:
    rows = [delimiter.join(f"{value:.9g}".replace(".", decimal) for value in row)
            for row in zip(*columns, strict=True)]
    path = folder / "run.csv"
    path.write_text(before + "\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def read(path: Path, settings: str = "") -> Recording:
    meter = open_meter(f"csv:{path}{settings}")
    assert isinstance(meter, CsvMeter)
    return meter.read()


def check(recording: Recording) -> None:
    assert recording.volts is not None
    assert recording.amperes is not None
    np.testing.assert_allclose(recording.t_s - recording.t_s[0], T, atol=1e-6)
    np.testing.assert_allclose(recording.volts, VOLTS, rtol=1e-6)
    np.testing.assert_allclose(recording.amperes, AMPERES, rtol=1e-6)
    np.testing.assert_allclose(recording.watts, VOLTS * AMPERES, rtol=1e-6)


@pytest.mark.parametrize(("header", "scale", "delimiter", "decimal", "before"), [
    ("Time (s),Voltage (V),Current (A)", (1, 1, 1), ",", ".", ""),
    ("time_ms,voltage_mV,current_uA", (1e3, 1e3, 1e6), ",", ".", ""),
    ("t,V,I", (1, 1, 1), ",", ".", ""),
    ("Timestamp[us];U[V];I[mA]", (1e6, 1, 1e3), ";", ",", ""),
    ("elapsed\tbus voltage (V)\tbus current (mA)", (1, 1, 1e3), "\t", ".", ""),
    ("Time (s),Voltage (V),Current (mA)", (1, 1, 1e3), ",", ".",
     "# exported\nMeter,XY-1\nSerial,007\n\n"),
])
def test_headers_and_units(tmp_path: Path, header: str, scale: tuple[float, ...], delimiter: str,
                           decimal: str, before: str) -> None:
    t, v, i = scale
    path = write(tmp_path, header, T * t, VOLTS * v, AMPERES * i, delimiter=delimiter,
                 decimal=decimal, before=before)
    check(read(path))


def test_times_of_day(tmp_path: Path) -> None:
    begin = datetime(2026, 3, 1, 12, tzinfo=UTC)
    lines = ["timestamp,voltage (V),current (A)"] + [
        f"{(begin + timedelta(seconds=t)).isoformat()},{v},{i}"
        for t, v, i in zip(T.tolist(), VOLTS.tolist(), AMPERES.tolist(), strict=True)]
    path = tmp_path / "run.csv"
    path.write_text("\n".join(lines))
    recording = read(path)
    check(recording)
    assert recording.clock == "epoch"
    assert recording.t_s[0] == begin.timestamp()


def test_seconds_since_1970(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    path.write_text("t,V,I\n" + "".join(f"{1.7e9 + n},5,0.1\n" for n in range(50)))
    assert read(path).clock == "epoch"
    assert read(write(tmp_path, "t,V,I", T, VOLTS, AMPERES)).clock == "own"


@pytest.mark.parametrize("settings", [
    ",time=x1[ms],voltage=x2,current=x3[mA]", ",time=x1[ms],volts=5.02,current=x3[mA]"])
def test_columns_by_name(tmp_path: Path, settings: str) -> None:
    path = write(tmp_path, "x1,x2,x3", T * 1e3, VOLTS, AMPERES * 1e3)
    check(read(path, settings))


def test_unit_alone(tmp_path: Path) -> None:
    """The column is found by its name, the unit is stated."""
    path = write(tmp_path, "t,voltage,current", T, VOLTS, AMPERES * 1e3)
    check(read(path, ",time=t,voltage=V,current=mA"))


def test_power_alone(tmp_path: Path) -> None:
    recording = read(write(tmp_path, "time,Power [mW]", T, VOLTS * AMPERES * 1e3))
    np.testing.assert_allclose(recording.watts, VOLTS * AMPERES, rtol=1e-6)
    assert recording.volts is None


@pytest.mark.parametrize(("header", "message"), [
    ("a,b,c", "no column of time among a, b, c"),
    ("time,b,c", "power or both voltage and current are needed"),
    ("time,voltage,c", "power or both voltage and current are needed"),
    ("time,current 1,current 2", "several columns could be the current: current 1, current 2"),
])
def test_columns_missing(tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(MeterError, match=message):
        read(write(tmp_path, header, T, VOLTS, AMPERES))


@pytest.mark.parametrize(("settings", "message"), [
    (",current=I2", "no column 'I2'; there are t, V, I"),
    (",current=I[mF]", "current has no unit 'mF'"),
    (",clock=moon", "clock must be one of"),
    (",gain=-1", "gain of meter .* must be a number, zero or more, not '-1'"),
    (",speed=1", "has no setting speed; it has boundary, clock"),
])
def test_settings_that_are_wrong(tmp_path: Path, settings: str, message: str) -> None:
    path = write(tmp_path, "t,V,I", T, VOLTS, AMPERES)
    with pytest.raises(MeterError, match=message):
        read(path, settings)


@pytest.mark.parametrize(("factor", "advice"), [(1e3, 1e3), (1e6, 1e6), (1e-3, 1e-3)])
def test_wrong_units_are_refused(tmp_path: Path, factor: float, advice: float) -> None:
    """Milliamperes under a header that says amperes, and so on."""
    recording = read(write(tmp_path, SI_HEADER, T, VOLTS, AMPERES * factor))
    with pytest.raises(MeterError, match=f"no power of boundary board.*off by a factor of "
                                         f"{advice:g}".replace("+", r"\+")):
        check_plausible(recording, T[0], T[-1])


def test_wrong_boundary_is_refused(tmp_path: Path) -> None:
    recording = read(write(tmp_path, "t,V,I", T, VOLTS, AMPERES), ",boundary=fpga_core")
    with pytest.raises(MeterError, match=r"5\.02 V is no voltage of boundary fpga_core.*"
                                         "add boundary=board"):
        check_plausible(recording, T[0], T[-1])


def test_lines_without_numbers_are_gaps(tmp_path: Path) -> None:
    amperes = AMPERES.copy()
    amperes[50:60] = np.nan
    recording = read(write(tmp_path, "t,V,I", T, VOLTS, amperes))
    assert recording.t_s.size == T.size - 10
    assert any("10 of 200 lines have no number" in warning for warning in recording.warnings)


def test_time_that_runs_back(tmp_path: Path) -> None:
    times = T.copy()
    times[120:] -= 3.0
    with pytest.raises(MeterError, match=r"runs back in line 122, from 2\.38 to -0\.6 s"):
        read(write(tmp_path, "t,V,I", times, VOLTS, AMPERES))


def test_times_repeated_or_swapped(tmp_path: Path) -> None:
    times = T.copy()
    times[10] = times[9]
    times[[20, 21]] = times[[21, 20]]
    recording = read(write(tmp_path, "t,V,I", times, VOLTS, AMPERES))
    assert np.all(np.diff(recording.t_s) > 0)
    assert recording.t_s.size == T.size - 1
    assert any("1 lines repeat a time and 1 are out of order" in warning
               for warning in recording.warnings)


def test_flat_top_is_said(tmp_path: Path, rng: np.random.Generator) -> None:
    amperes = np.minimum(0.08 + 0.01 * rng.standard_normal(T.size), 0.083)
    recording = read(write(tmp_path, "t,V,I", T, VOLTS, amperes))
    assert any("flat at their top" in warning for warning in recording.warnings)
    assert not read(write(tmp_path, SI_HEADER, T, VOLTS, AMPERES)).warnings


@pytest.mark.parametrize("text", ["", "hello", "time,V,I\n", "\x00\x01"])
def test_no_table(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.csv"
    path.write_text(text)
    with pytest.raises(MeterError, match="no line of numbers below a header"):
        read(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="cannot be read: No such file"):
        read(tmp_path / "absent.csv")


class Bench:
    """A session with an instrument that records on a clock of its own."""

    tokens_per_s = 950.0
    idle_w, busy_w = 0.38, 0.43

    def __init__(self, folder: Path, rng: np.random.Generator) -> None:
        self.clock = SimulatedClock()
        self.clock.sleep(5000.0)
        self.path = folder / "usb.csv"
        self.log = folder / "session.json"
        self.rng = rng
        self.busy: list[tuple[float, float]] = []

    def generate(self, seconds: float) -> int:
        start = self.clock.now()
        self.clock.sleep(seconds)
        self.busy.append((start, self.clock.now()))
        return round(self.tokens_per_s * seconds)

    def export(self, *, late_s: float = -5.0, ppm: float = 0.0, rate: float = 100.0,
               until_s: float = np.inf, busy_w: float = busy_w, epoch: bool = False,
               times: int = 1) -> None:
        """Write what the instrument saw, from ``late_s`` after the session's start.

        With ``epoch`` it writes times of day; ``times`` is how often it saw the session.
        """
        host = np.arange(5000.0 + late_s, min(self.clock.now() + 8, 5000.0 + until_s), 1 / rate)
        edges = np.array(list(itertools.chain(*self.busy)))
        watts = np.where(np.searchsorted(edges, host) % 2, busy_w, self.idle_w)
        amperes = (watts + 0.004 * self.rng.standard_normal(host.size)) / 5.02
        elapsed = (host - host[0]) * (1 + ppm * 1e-6)
        if epoch:
            elapsed = host - SessionLog.load(self.log).host_minus_epoch_s
        length = float(host[-1] - host[0]) + 1.0
        elapsed = np.concatenate([elapsed + k * length for k in range(times)])
        amperes = np.tile(amperes, times)
        self.path.write_text("time (s),voltage (V),current (mA)\n" + "".join(
            f"{t:.4f},5.02,{i * 1e3:.2f}\n" for t, i in zip(elapsed.tolist(), amperes.tolist(),
                                                            strict=True)))

    def session(self) -> None:
        """Measure while there is no file yet."""
        with pytest.raises(MeterError, match=r"there is no new recording .*usb\.csv yet\. The "
                                             r"session is kept in .*session\.json"):
            self.measure()

    def measure(self) -> Measurement:
        meter = open_meter(f"csv:{self.path}", ask=lambda _text: "", clock=self.clock)
        return measure(meter, self.generate, clock=self.clock, log=self.log)

    def analyse(self, settings: str = "") -> Measurement:
        return finish(SessionLog.load(self.log), read(self.path, settings))

    def check(self, result: Measurement, tolerance: float = 0.005) -> None:
        """Right within the scatter of the readings: the instrument itself is exact here."""
        true = self.busy_w / self.tokens_per_s
        assert result.joules_per_token.value == pytest.approx(true, rel=tolerance)
        assert result.above_idle.value == pytest.approx(
            (self.busy_w - self.idle_w) / self.tokens_per_s, rel=0.04)
        assert result.provenance == "measured"
        assert result.joules_per_token.u_k2 is not None
        assert result.joules_per_token.u_k2 > 2 * 0.02 / np.sqrt(3) * true  # the assumed accuracy


@pytest.fixture
def bench(tmp_path: Path, rng: np.random.Generator) -> Bench:
    made = Bench(tmp_path, rng)
    made.session()
    return made


@pytest.mark.parametrize("late_s", [-40.0, -5.0, 3.0])
@pytest.mark.parametrize("ppm", [0.0, 400.0, -2500.0])
def test_file_that_comes_afterwards(bench: Bench, late_s: float, ppm: float) -> None:
    bench.export(late_s=late_s, ppm=ppm)
    result = bench.analyse()
    bench.check(result)
    assert result.alignment.steps == 12  # both ends of warm-up and five windows
    assert result.alignment.offset_s == pytest.approx(5000 + late_s * (1 + ppm * 1e-6), abs=0.01)
    assert result.alignment.drift_ppm == pytest.approx(ppm, abs=350)
    assert any("fast; corrected" in warning for warning in result.warnings) == (
        abs(result.alignment.drift_ppm) > 200)


def test_windows_are_where_the_steps_are(bench: Bench) -> None:
    """Misaligned by a second, a tenth of the difference to idle would be missing."""
    bench.export()
    for run in bench.analyse().above_idle.runs:
        assert run == pytest.approx((bench.busy_w - bench.idle_w) / bench.tokens_per_s, rel=0.04)


def test_slow_instrument(bench: Bench) -> None:
    """Two readings a second show the steps, and place them within parts of an interval."""
    bench.export(rate=4.0)
    result = bench.analyse()
    bench.check(result, tolerance=0.01)
    assert 0.01 < result.alignment.u_s < 0.3


def test_instrument_that_was_switched_off(bench: Bench) -> None:
    bench.export(until_s=62.0)
    result = bench.analyse()
    bench.check(result)
    assert len(result.joules_per_token.runs) in (3, 4)
    assert any(warning.startswith("left out") for warning in result.warnings)


def test_recording_of_another_time(bench: Bench, rng: np.random.Generator) -> None:
    bench.busy = [(5000.0 + k * 25, 5000.0 + k * 25 + 3) for k in range(4)]
    bench.export()
    with pytest.raises(MeterError, match="does not show the session's steps"):
        bench.analyse()


def test_recording_without_steps(bench: Bench) -> None:
    bench.export(busy_w=bench.idle_w)
    with pytest.raises(MeterError, match="does not show the session's steps"):
        bench.analyse()


def test_recording_that_is_too_short(bench: Bench) -> None:
    bench.export(until_s=20.0)
    with pytest.raises(MeterError, match=r"recording is 25\.0 s long and the session took"):
        bench.analyse()


def test_recording_in_milliseconds(bench: Bench) -> None:
    """A unit of time that is wrong cannot be aligned."""
    bench.export()
    with pytest.raises(MeterError, match="is the unit of its time wrong"):
        bench.analyse(",time=ms")


def test_recording_with_another_unit(bench: Bench) -> None:
    bench.export()
    with pytest.raises(MeterError, match="is no power of boundary board"):
        bench.analyse(",current=A")


def test_file_at_the_end_of_the_session(tmp_path: Path, rng: np.random.Generator) -> None:
    """The instrument is stopped and the file exported when the session asks for it."""
    bench = Bench(tmp_path, rng)
    asked: list[str] = []

    def ask(text: str) -> str:
        asked.append(text)
        if text.startswith("Stop"):
            bench.export()
        return ""

    meter = open_meter(f"csv:{bench.path}", ask=ask, clock=bench.clock)
    bench.check(measure(meter, bench.generate, clock=bench.clock, log=bench.log))
    assert [text.split()[0] for text in asked] == ["Start", "Stop"]


def test_file_of_an_earlier_session_does_not_count(tmp_path: Path, rng: np.random.Generator
                                                   ) -> None:
    bench = Bench(tmp_path, rng)
    bench.path.write_text("time (s),voltage (V),current (mA)\n0,5,80\n1,5,80\n")
    bench.session()


def test_session_seen_twice(bench: Bench) -> None:
    """Without a time of day, there is no telling which; with one, there is."""
    bench.export(times=2)
    with pytest.raises(MeterError, match="shows the session's pattern more than once"):
        bench.analyse()
    bench.export(times=2, epoch=True)
    result = bench.analyse()
    bench.check(result)
    assert result.alignment.steps == 12


def test_times_of_day_alone(bench: Bench) -> None:
    """Without steps, a recording with times of day is placed to a second."""
    bench.export(epoch=True, busy_w=bench.idle_w)
    result = bench.analyse()
    assert result.joules_per_token.value == pytest.approx(bench.idle_w / bench.tokens_per_s,
                                                          rel=0.005)
    assert result.alignment.u_s == 1.0
    assert any("aligned by the time of day alone" in warning for warning in result.warnings)


@pytest.mark.parametrize("name", [
    "a,b.csv", "run 1, second try.csv", "a,v=3.csv", ",.csv", "colon:and,comma.csv"])
@pytest.mark.parametrize("settings", ["", ",boundary=board", ",boundary=board,voltage=Voltage (V)"])
def test_a_path_may_have_commas(name: str, settings: str, tmp_path: Path) -> None:
    write(tmp_path, SI_HEADER, T, VOLTS, AMPERES).rename(tmp_path / name)
    check(read(tmp_path / name, settings))


def test_a_path_with_a_comma_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match=r"written key=value, not 'b\.csv' .*no file has that"):
        open_meter(f"csv:{tmp_path}/a,b.csv,voltage=1.2")


@pytest.mark.parametrize("lines", [1, 2])
def test_two_lines_are_a_recording(lines: int, tmp_path: Path) -> None:
    path = write(tmp_path, SI_HEADER, T[:lines], VOLTS[:lines], AMPERES[:lines])
    if lines == 2:
        assert read(path).t_s.size == lines
        return
    with pytest.raises(MeterError, match="needs two or more"):
        read(path)
