"""Records from JSON: what has another type is refused, wherever it is."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from trilight.sw.bench.ours import entry_of_file
from trilight.sw.errors import (
    BenchError,
    CalibrationError,
    DeviceError,
    MeterError,
    PowerError,
)
from trilight.sw.host.driver import Board
from trilight.sw.host.emulator import ReferenceTransport
from trilight.sw.host.frames import Frame, encode_frame
from trilight.sw.meters.calibrate import Calibration
from trilight.sw.meters.correction import Correction
from trilight.sw.meters.session import SessionLog
from trilight.sw.power import Activity, CoefficientSet, load_coefficients
from trilight.sw.power.parts import Breakdown
from trilight.sw.records import MAX, read_record


@dataclass(frozen=True)
class Inner:
    kind: Literal["a", "b"]
    numbers: tuple[float, ...] = ()


@dataclass(frozen=True)
class Outer:
    name: str
    number: float
    inner: Inner | None = None
    values: NDArray[np.float64] | None = None
    more: dict[str, Any] = field(default_factory=dict)


def read(data: object) -> Outer:
    return read_record(Outer, data, MeterError, "thing")


def test_record_of_every_kind() -> None:
    made = read({"name": "x", "number": 1, "inner": {"kind": "a", "numbers": [1, 2.5]},
                 "values": [1, math.nan], "more": {"k": [None]}})
    assert (made.name, made.number, made.more) == ("x", 1.0, {"k": [None]})
    assert made.inner == Inner("a", (1.0, 2.5))
    np.testing.assert_array_equal(made.values, [1, math.nan])


@pytest.mark.parametrize(("data", "why"), [
    ([], "it is list, not an object"),
    ({"name": "x"}, "missing required field `number`"),
    ({"name": "x", "number": 1, "odd": 1}, "it has no 'odd'"),
    ({"name": 1, "number": 1}, "Expected `str`"),
    ({"name": "x", "number": "1"}, "Expected `float`"),
    ({"name": "x", "number": True}, "Expected `float`"),
    ({"name": "x", "number": 10**400}, "out of range"),
    ({"name": "x", "number": math.nan}, "must be from"),
    ({"name": "x", "number": -2 * MAX}, "must be from"),
    ({"name": "x", "number": 1, "more": {"k": [10**400]}}, "must be from"),
    ({"name": "x", "number": 1, "inner": {"kind": "c"}}, "Invalid enum value"),
    ({"name": "x", "number": 1, "inner": {"kind": "a", "numbers": [math.inf]}}, "must be from"),
    ({"name": "x", "number": 1, "values": [[1]]}, "Expected `float` in an array"),
    ({"name": "x", "number": 1, "values": [True]}, "Expected `float` in an array"),
    ({"name": "x", "number": 1, "values": [10**400]}, "out of range"),
    ({"name": "x", "number": 1, "values": 1}, "Expected `array`"),
])
def test_anything_else_is_refused(data: object, why: str) -> None:
    with pytest.raises(MeterError, match="no thing: ") as caught:
        read(data)
    assert why in str(caught.value)


# What fuzzing found: legal JSON of another type went through, and failed later on.

def test_activity_of_texts() -> None:
    good = Activity(clock_nets=1, ff_clocked=1, net_transitions=1, ebr_accesses=1,
                    spram_accesses=1, dsp_ops=1, io_edges=1, cycles=1).to_dict()
    assert Activity.from_dict(good).to_dict() == good
    for bad in ("1", None, [], 10**400, 1e300, -1):
        with pytest.raises(PowerError):
            Activity.from_dict(good | {"dsp_ops": bad})
    with pytest.raises(PowerError, match="object"):
        Activity.from_dict([])


def test_breakdown_of_no_tokens() -> None:
    stage = {"stage": "mix", "layer": 0, "reading": True, "cycles": 5,
             "events": {"tables": {"dsp_ops": 1.0}}}
    good = {"tokens": 1, "clock_nets": 1.0, "ff_clocked": 1.0, "stages": [stage]}
    assert Breakdown.from_dict(good).cycles_per_token == 5
    for bad in (good | {"tokens": 0}, good | {"stages": [stage | {"events": {"tables": 1}}]},
                good | {"stages": [stage | {"cycles": 10**400}]}):
        with pytest.raises(PowerError):
            Breakdown.from_dict(bad)


@pytest.mark.parametrize("change", [
    {"reference_voltage_v": 0}, {"nominal_voltage_v": "1.2"}, {"coefficients": []},
    {"coefficients": {"net": 1}}, {"coefficients": "\ud8ff"}, {"temperature_c": None}])
def test_coefficients_of_another_type(change: dict[str, Any]) -> None:
    data = json.loads(load_coefficients().to_json())
    with pytest.raises(PowerError):
        CoefficientSet.from_json(json.dumps(data | change))


def test_correction_and_session_of_texts() -> None:
    with pytest.raises(MeterError, match="no correction"):
        Correction.from_dict({"gain": "1", "offset_a": 0, "u_gain": 0, "u_offset_a": 0,
                              "method": "", "meter": "", "utc": ""})
    for gain in (0, -1):
        with pytest.raises(MeterError, match=f"the gain must be positive, not {gain}"):
            Correction.from_dict({"gain": gain, "offset_a": 0, "u_gain": 0, "u_offset_a": 0,
                                  "method": "", "meter": "", "utc": ""})
    with pytest.raises(MeterError, match="no session of measurement"):
        SessionLog.from_dict({"schema": SessionLog.SCHEMA, "meter": "", "utc": "",
                              "host_minus_epoch_s": 0, "phases": [{"kind": "window", "name": 1}]})


@pytest.mark.parametrize("change", [{}, {"systems": []}, {"systems": 1}, {"model": {}}])
def test_report_with_nothing_in_it(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"schema": "trilight/bench/v1"} | change))
    with pytest.raises(BenchError, match="is damaged"):
        entry_of_file(path)


def test_device_with_a_program_that_is_none() -> None:
    from trilight.hw.contract.program import HEADER_WORDS
    from trilight.hw.contract.protocol import ADDRESS, RUN, Command, Region
    from trilight.hw.contract.shapes import ModelConfig
    from trilight.sw.model.model import Model

    device = ReferenceTransport()
    Board(device).load(Model.random(
        ModelConfig(vocab_size=16, d_model=16, n_layers=1, d_hidden=16), 1))
    first = ADDRESS.pack(Region.PROGRAM + HEADER_WORDS)
    device.write(encode_frame(Frame(1, Command.WRITE, first + bytes((7, 0)))))
    with pytest.raises(DeviceError, match="no model: 7 is not a valid Op"):
        device.write(encode_frame(Frame(2, Command.RUN, RUN.pack(0, 0, 1, 1, 0, 0))))


def test_key_of_an_earlier_version_says_its_name_of_today(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    kept = Calibration.begin("csv:x", "icebreaker").to_dict()
    kept["facts"] = kept.pop("metadata")
    path.write_text(json.dumps(kept))
    with pytest.raises(CalibrationError, match="'facts' is called 'metadata' now"):
        Calibration.load(path)
