"""Energy of a training by the processor's own counter."""

from pathlib import Path

import pytest

from trilight.sw.errors import MeterError
from trilight.sw.meters.base import Meter, MeterOptions
from trilight.sw.meters.fake import SimulatedClock
from trilight.sw.meters.rapl import RaplMeter
from trilight.sw.train import energy


def test_joules_between_two_readings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "intel-rapl:0"
    folder.mkdir()
    for name, text in (("name", "package-0"), ("max_energy_range_uj", "999999999"),
                       ("energy_uj", "5000000")):
        (folder / name).write_text(text + "\n")
    clock = SimulatedClock()

    def opened(spec: str) -> Meter:
        assert spec == energy.METER
        return RaplMeter(MeterOptions(spec=spec, settings={"rate": "0.001"}, clock=clock), tmp_path)

    monkeypatch.setattr(energy, "open_meter", opened)
    with energy.processor_energy() as found:
        assert not found
        clock.sleep(4.0)
        (folder / "energy_uj").write_text("65000000\n")
    assert found == {"joules": pytest.approx(60), "seconds": pytest.approx(4), "meter": "rapl",
                     "covers": "host"}


def test_no_counter_no_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_spec: str) -> Meter:
        raise MeterError("none here")

    monkeypatch.setattr(energy, "open_meter", missing)
    with energy.processor_energy() as found:
        pass
    assert found == {}
