"""Meters that are read by this program, each on a stand-in for its hardware."""

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trilight.sw.errors import MeterError, MeterLostError
from trilight.sw.meters.base import BEGIN, END, Meter, MeterOptions, Recording
from trilight.sw.meters.fake import SimulatedClock
from trilight.sw.meters.hwmon import HwmonMeter
from trilight.sw.meters.ina import CHIPS, InaMeter
from trilight.sw.meters.joulescope import JoulescopeMeter
from trilight.sw.meters.manual import ManualMeter
from trilight.sw.meters.nvml import NvmlMeter
from trilight.sw.meters.rapl import RaplMeter


def options(spec: str, **settings: str) -> MeterOptions:
    _, _, argument = spec.partition(":")
    return MeterOptions(spec=spec, argument=argument, settings=settings)


def record(meter: Meter) -> Recording:
    meter.start()
    meter.mark(f"{BEGIN}test")
    time.sleep(0.03)
    meter.mark(f"{END}test")
    return meter.stop()


class FakeBus:
    """Chips on an I2C bus: words as the data sheets lay them out, in the order of SMBus."""

    def __init__(self, *, address: int, registers: dict[int, int], dies: bool) -> None:
        self.address = address
        self.registers = registers
        self.gone = False
        self.written: dict[int, int] = {}
        if dies:
            self.registers[0xFE] = int.from_bytes(b"TI", "big")

    def read_word_data(self, i2c_addr: int, register: int) -> int:
        if self.gone or i2c_addr != self.address:
            raise OSError(121, "Remote I/O error")
        return int.from_bytes(self.registers[register].to_bytes(2, "little"), "big")

    def write_word_data(self, i2c_addr: int, register: int, value: int) -> None:
        if self.gone or i2c_addr != self.address:
            raise OSError(121, "Remote I/O error")
        self.written[register] = int.from_bytes(value.to_bytes(2, "little"), "big")


def ina226(volts: float, amperes: float, ohms: float) -> FakeBus:
    """SBOS547B: register 1 in 2.5 uV, register 2 in 1.25 mV, die 0x226, revision 0."""
    return FakeBus(address=0x40, dies=True, registers={
        1: round(amperes * ohms / 2.5e-6) & 0xFFFF, 2: round(volts / 1.25e-3), 0xFF: 0x2260})


@pytest.mark.parametrize(("volts", "amperes", "ohms"), [
    (1.2, 0.0137, 1.0), (5.02, 0.085, 0.1), (1.2, 92e-6, 1.0), (1.2, -0.002, 1.0)])
def test_ina226(volts: float, amperes: float, ohms: float) -> None:
    meter = InaMeter(options("ina226:1/0x40", shunt=str(ohms)), CHIPS["ina226"],
                     ina226(volts, amperes, ohms))
    recording = record(meter)
    assert recording.volts is not None
    assert recording.amperes is not None
    np.testing.assert_allclose(recording.volts, volts, atol=1.25e-3 / 2)
    np.testing.assert_allclose(recording.amperes, amperes, atol=2.5e-6 / ohms / 2)
    metadata = recording.metadata
    assert metadata.range_a == pytest.approx(0.08192 / ohms)
    assert metadata.burden_v == pytest.approx(amperes * ohms, abs=2e-6)
    # 10 uV of offset over the shunt, at the supply's voltage.
    assert metadata.offset_limit_w == pytest.approx(10e-6 / ohms * volts, rel=1e-2)
    assert metadata.gain_limit == pytest.approx(0.001 + 0.001 + 0.01)  # both channels, shunt of 1 %


def test_ina226_configuration() -> None:
    """Averages of 16, both conversions 1.1 ms, continuous: bits 11:9, 8:6, 5:3, 2:0."""
    bus = ina226(1.2, 0.01, 1.0)
    record(InaMeter(options("ina226", shunt="1"), CHIPS["ina226"], bus))
    word = bus.written[0]
    assert (word >> 9 & 7, word >> 6 & 7, word >> 3 & 7, word & 7) == (0b010, 0b100, 0b100, 0b111)
    # A chip that averages for longer than the time between readings gives each value twice.
    assert CHIPS["ina226"].rate_hz < 1 / (16 * 2 * 1.1e-3)


def test_ina219() -> None:
    """SBOS448G: register 1 in 10 uV, register 2 in 4 mV from bit 3 on, flags below."""
    volts, amperes = 5.02, 0.0853
    flags = 0b010  # conversion ready
    bus = FakeBus(address=0x41, dies=False, registers={
        1: round(amperes * 0.1 / 10e-6), 2: round(volts / 4e-3) << 3 | flags})
    meter = InaMeter(options("ina219:1/0x41"), CHIPS["ina219"], bus)
    recording = record(meter)
    assert recording.volts is not None
    assert recording.amperes is not None
    np.testing.assert_allclose(recording.volts, volts, atol=2e-3)
    np.testing.assert_allclose(recording.amperes, amperes, atol=50e-6)
    assert recording.boundary == "board"
    word = bus.written[0]
    # 32 V, gain 1/8, 128 samples on both channels, continuous.
    assert (word >> 13, word >> 11 & 3, word >> 7 & 15, word >> 3 & 15, word & 7) == (
        1, 0b11, 0b1111, 0b1111, 0b111)
    assert CHIPS["ina219"].rate_hz < 1 / (2 * 68.1e-3)


def test_ina260() -> None:
    """SBOS656C: register 1 in 1.25 mA, register 2 in 1.25 mV, 2 milliohm inside."""
    volts, amperes = 12.1, -1.4
    bus = FakeBus(address=0x44, dies=True, registers={
        1: round(amperes / 1.25e-3) & 0xFFFF, 2: round(volts / 1.25e-3), 0xFF: 0x2270})
    recording = record(InaMeter(options("ina260:0/0x44"), CHIPS["ina260"], bus))
    assert recording.amperes is not None
    np.testing.assert_allclose(recording.amperes, amperes, atol=0.625e-3)
    np.testing.assert_allclose(recording.watts, volts * amperes, rtol=1e-3)
    assert recording.metadata.burden_v == pytest.approx(amperes * 2e-3, rel=1e-3)


def test_ina226_needs_its_shunt() -> None:
    with pytest.raises(MeterError, match="needs the value of its shunt in ohms"):
        InaMeter(options("ina226:1/0x40"), CHIPS["ina226"])


@pytest.mark.parametrize("argument", ["one/0x40", "1/forty"])
def test_ina_address(argument: str) -> None:
    with pytest.raises(MeterError, match="needs bus and address, as in ina219:1/0x40"):
        InaMeter(options(f"ina219:{argument}"), CHIPS["ina219"])


def test_another_chip_at_the_address() -> None:
    bus = ina226(1.2, 0.01, 1.0)
    bus.registers[0xFF] = 0x2270
    with pytest.raises(MeterError, match="is no ina226: it says manufacturer 0x5449 and die 0x227"):
        record(InaMeter(options("ina226", shunt="1"), CHIPS["ina226"], bus))


def test_nothing_at_the_address() -> None:
    with pytest.raises(MeterError, match="nothing answers at 0x45 on I2C bus 1"):
        record(InaMeter(options("ina226:1/0x45", shunt="1"), CHIPS["ina226"],
                        ina226(1.2, 0.01, 1.0)))


def test_polled_meter_that_is_unplugged() -> None:
    bus = ina226(1.2, 0.01, 1.0)
    meter = InaMeter(options("ina226", shunt="1"), CHIPS["ina226"], bus)
    meter.start()
    meter.mark(f"{BEGIN}one")
    bus.gone = True
    with pytest.raises(MeterLostError, match=r"lost after 2 readings.*Remote I/O"):
        meter.mark(f"{END}one")
    recording = meter.stop()
    assert recording.t_s.size == 2
    assert recording.lost is not None
    bus.gone = False
    assert record(meter).lost is None  # plugged in again


def test_polling_ends_with_the_recording() -> None:
    before = threading.active_count()
    recording = record(InaMeter(options("ina226", shunt="1", rate="300"), CHIPS["ina226"],
                                ina226(1.2, 0.01, 1.0)))
    assert threading.active_count() == before
    assert recording.t_s.size > 4
    assert [mark.label for mark in recording.marks] == ["begin test", "end test"]
    assert np.all(np.diff(recording.t_s) > 0)


@pytest.fixture
def hwmon(tmp_path: Path) -> Path:
    """A kernel with a temperature and an INA226, as sysfs shows them."""
    for folder, files in {
            "hwmon0": {"name": "cpu_thermal", "temp1_input": "47000"},
            "hwmon1": {"name": "ina226", "in0_input": "14", "in1_input": "1201",
                       "curr1_input": "14", "power1_input": "17000", "shunt_resistor": "1000000"},
    }.items():
        (tmp_path / folder).mkdir()
        for name, text in files.items():
            (tmp_path / folder / name).write_text(text + "\n")
    return tmp_path


@pytest.mark.parametrize("wanted", ["ina226", "hwmon1"])
def test_hwmon(hwmon: Path, wanted: str) -> None:
    recording = record(HwmonMeter(options(f"hwmon:{wanted}"), hwmon))
    np.testing.assert_allclose(recording.watts, 1.201 * 0.014)
    assert recording.boundary == "fpga_core"
    assert recording.metadata.range_a == pytest.approx(0.08192)
    # Whole milliamperes: half a step, besides 10 uV over 1 ohm.
    assert recording.metadata.offset_limit_w == pytest.approx((0.5e-3 + 10e-6) * 1.201)


def test_hwmon_with_another_shunt(hwmon: Path) -> None:
    """The kernel was told 10 milliohm, its default, and 1 ohm is fitted."""
    (hwmon / "hwmon1" / "shunt_resistor").write_text("10000\n")
    (hwmon / "hwmon1" / "curr1_input").write_text("1400\n")
    recording = record(HwmonMeter(options("hwmon:ina226", shunt="1.0"), hwmon))
    np.testing.assert_allclose(recording.watts, 1.201 * 0.014)
    assert recording.metadata.offset_limit_w == pytest.approx((5e-6 + 10e-6) * 1.201)


def test_hwmon_missing(hwmon: Path) -> None:
    with pytest.raises(MeterError, match=r"there are: cpu_thermal \(hwmon0\), ina226 \(hwmon1\)"):
        HwmonMeter(options("hwmon:ina219"), hwmon)
    with pytest.raises(MeterError, match="has no in1_input"):
        HwmonMeter(options("hwmon:hwmon0"), hwmon)
    with pytest.raises(MeterError, match="needs the name of the sensor"):
        HwmonMeter(options("hwmon"), hwmon)


def test_hwmon_with_two_of_a_kind(hwmon: Path) -> None:
    (hwmon / "hwmon2").mkdir()
    (hwmon / "hwmon2" / "name").write_text("ina226\n")
    with pytest.raises(MeterError, match="2 sensors 'ina226'; name one of hwmon1, hwmon2"):
        HwmonMeter(options("hwmon:ina226"), hwmon)


def test_hwmon_that_goes(hwmon: Path) -> None:
    meter = HwmonMeter(options("hwmon:ina226"), hwmon)
    meter.start()
    (hwmon / "hwmon1" / "curr1_input").unlink()
    with pytest.raises(MeterLostError, match="No such file"):
        meter.mark("x")
    assert meter.stop().t_s.size == 1


RAPL_RANGE_UJ = 262_143_328_850


@pytest.fixture
def rapl(tmp_path: Path) -> Path:
    for folder, name, energy in (("intel-rapl:0", "package-0", RAPL_RANGE_UJ - 400_000),
                                 ("intel-rapl:1", "package-1", 5_000_000),
                                 ("intel-rapl:0:0", "core", 1_000_000),
                                 ("intel-rapl:2", "psys", 7_000_000)):
        (tmp_path / folder).mkdir()
        for file, text in (("name", name), ("energy_uj", str(energy)),
                           ("max_energy_range_uj", str(RAPL_RANGE_UJ))):
            (tmp_path / folder / file).write_text(f"{text}\n")
    return tmp_path


def step(root: Path, folder: str, microjoules: int) -> None:
    path = root / folder / "energy_uj"
    path.write_text(f"{(int(path.read_text()) + microjoules) % (RAPL_RANGE_UJ + 1)}\n")


def test_rapl_over_its_range(rapl: Path) -> None:
    """Both packages, the first of which starts again; what is inside one is not counted again."""
    clock = SimulatedClock()
    meter = RaplMeter(MeterOptions(spec="rapl", settings={"rate": "0.01"}, clock=clock), rapl)
    meter.start()
    for _ in range(3):
        clock.sleep(0.5)
        step(rapl, "intel-rapl:0", 300_000)
        step(rapl, "intel-rapl:1", 100_000)
        step(rapl, "intel-rapl:0:0", 50_000)
        meter.mark("x")
    recording = meter.stop()
    np.testing.assert_allclose(recording.watts, 0.4 / 0.5)
    assert recording.averaging
    assert recording.metadata.serial == "package-0, package-1"


def test_rapl_domains(rapl: Path) -> None:
    assert RaplMeter(options("rapl:psys"), rapl)
    with pytest.raises(MeterError, match=r"no RAPL counter 'dram' under .*: package-0, package-1"):
        RaplMeter(options("rapl:dram"), rapl)


def test_rapl_without_permission(rapl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = RaplMeter(options("rapl:psys"), rapl)
    read_text = Path.read_text

    def refuse(path: Path, *args: Any, **kwargs: Any) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(MeterError, match=r"read by root only.*CVE-2020-8694.*sudo chmod a\+r"):
        meter.start()


class NvmlFailure(Exception):
    pass


class FakeNvml:
    """As much of ``pynvml`` as is used: a GPU at 120 W."""

    NVMLError = NvmlFailure

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock
        self.broken = False

    def nvmlInit(self) -> None:
        pass

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index:
            raise NvmlFailure("Invalid Argument")
        return index

    def nvmlDeviceGetName(self, _gpu: int) -> str:
        return "GPU of the test"

    def nvmlDeviceGetUUID(self, _gpu: int) -> str:
        return "GPU-1234"

    def nvmlDeviceGetTotalEnergyConsumption(self, _gpu: int) -> int:
        if self.broken:
            raise NvmlFailure("Not Supported")
        return round(self.clock.now() * 120e3)


def test_nvml() -> None:
    clock = SimulatedClock()
    nvml = FakeNvml(clock)
    meter = NvmlMeter(MeterOptions(spec="nvml", settings={"rate": "0.01"}, clock=clock), nvml)
    meter.start()
    clock.sleep(2.0)
    meter.mark("x")
    recording = meter.stop()
    np.testing.assert_allclose(recording.watts, 120.0)
    assert recording.boundary == "gpu"
    assert recording.metadata.type == "nvml GPU of the test"
    nvml.broken = True
    with pytest.raises(MeterError, match="gives no energy: Not Supported"):
        meter.start()
    with pytest.raises(MeterError, match="GPU 3 cannot be read: Invalid Argument"):
        NvmlMeter(options("nvml:3"), nvml)
    with pytest.raises(MeterError, match="needs the number of a GPU"):
        NvmlMeter(options("nvml:first"), nvml)


class FakeJoulescope:
    """The maker's driver with one instrument, whose values the test sends."""

    def __init__(self, *paths: str) -> None:
        self.paths = list(paths)
        self.published: dict[str, object] = {}
        self.callback: Any = None

    def device_paths(self) -> list[str]:
        return self.paths

    def open(self, _path: str) -> None:
        pass

    def publish(self, topic: str, value: object) -> None:
        self.published[topic] = value

    def subscribe(self, _topic: str, _flags: str, callback: Any) -> None:
        self.callback = callback

    def unsubscribe(self, _topic: str, _callback: Any) -> None:
        raise RuntimeError("gone")

    def close(self, _path: str) -> None:
        pass

    def finalize(self) -> None:
        pass

    def send(self, volts: float, amperes: float) -> None:
        values = {"voltage": volts, "current": amperes, "power": volts * amperes}
        self.callback("topic", {"signals": {name: {"avg": {"value": value}}
                                            for name, value in values.items()}})


@pytest.mark.parametrize(("path", "rate"), [("u/js220/000415", 1e6), ("u/js110/002557", 2e6)])
def test_joulescope(path: str, rate: float) -> None:
    clock = SimulatedClock()
    driver = FakeJoulescope(path)
    meter = JoulescopeMeter(MeterOptions(spec="joulescope", clock=clock), lambda: driver)
    meter.start()
    assert driver.published[f"{path}/s/stats/scnt"] == rate / 20
    for _ in range(10):
        clock.sleep(0.05)
        driver.send(1.2, 0.0137)
    meter.mark("x")
    recording = meter.stop()
    assert recording.t_s.size == 10
    np.testing.assert_allclose(recording.watts, 1.2 * 0.0137)
    assert recording.metadata.serial == path.split("/")[-1]
    assert recording.averaging
    assert recording.lost is None


def test_joulescope_that_falls_silent() -> None:
    clock = SimulatedClock()
    driver = FakeJoulescope("u/js220/000415")
    meter = JoulescopeMeter(MeterOptions(spec="joulescope", clock=clock), lambda: driver)
    meter.start()
    driver.send(1.2, 0.01)
    clock.sleep(3.0)
    with pytest.raises(MeterLostError, match="has sent nothing for 2 s"):
        meter.mark("x")
    recording = meter.stop()
    assert recording.t_s.size == 1
    assert recording.lost == "nothing came for 3.0 s"


@pytest.mark.parametrize(("paths", "message"), [
    ((), "0 Joulescopes are there; connect one"),
    (("u/js220/1", "u/js220/2"), "name one, as in joulescope:1"),
    (("u/js320/1",), "neither a JS220 nor a JS110"),
])
def test_joulescope_missing(paths: tuple[str, ...], message: str) -> None:
    meter = JoulescopeMeter(options("joulescope"), lambda: FakeJoulescope(*paths))
    with pytest.raises(MeterError, match=message):
        meter.start()


def test_manual() -> None:
    """What a person reads holds for the phase that it was read in."""
    clock = SimulatedClock()
    answers = {"Supply": "5,02", "Largest": "0.0005", "before": "0.0751", "run": "0.0855",
               "now": "0.0752"}

    def ask(text: str) -> str:
        clock.sleep(4.0)  # typing
        return next(answer for word, answer in answers.items() if word in text)

    meter = ManualMeter(MeterOptions(spec="manual", ask=ask, clock=clock))
    meter.start()
    clock.sleep(10.0)
    meter.mark(f"{BEGIN}run")
    start = clock.now()
    clock.sleep(12.0)
    end = clock.now()
    meter.mark(f"{END}run")
    clock.sleep(10.0)
    recording = meter.stop()
    inside = recording.between(start, end)
    assert recording.amperes is not None
    np.testing.assert_array_equal(recording.amperes[inside], 0.0855)
    np.testing.assert_array_equal(recording.watts[inside], 0.0855 * 5.02)
    assert recording.amperes[0] == 0.0751
    assert recording.amperes[-1] == 0.0752
    assert recording.metadata.offset_limit_w == pytest.approx(0.0005 * 5.02)


def test_manual_asks_until_it_is_a_number() -> None:
    answers = iter(["five", "", "-1", "nan", "5.0", "0.001"])
    meter = ManualMeter(MeterOptions(spec="manual", ask=lambda _text: next(answers),
                                     clock=SimulatedClock()))
    meter.start()
    assert next(answers, None) is None
