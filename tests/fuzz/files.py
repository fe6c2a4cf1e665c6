"""Parsers of files: models, images, recordings, results and texts."""

import json
import re
import zlib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import numpy as np

from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.support.boards import board_device
from trilight.sw.bench.ours import entry_of_file
from trilight.sw.bench.workload import load_prompts
from trilight.sw.errors import (
    BenchError,
    CalibrationError,
    CorpusError,
    ImageError,
    MeterError,
    ModelFileError,
    PowerError,
)
from trilight.sw.meters.base import Mark, MeterMetadata, MeterOptions, Recording
from trilight.sw.meters.calibrate import Accelerator, Calibration, Reading
from trilight.sw.meters.correction import Correction
from trilight.sw.meters.csvfile import read_csv
from trilight.sw.meters.files import Kept
from trilight.sw.meters.phases import Phase
from trilight.sw.meters.session import SessionLog, finish
from trilight.sw.model.file import checksum
from trilight.sw.model.image import Image, compile_image
from trilight.sw.model.model import Model
from trilight.sw.power import Activity, energy_by_part, estimate_power, load_coefficients
from trilight.sw.power.fit import load_fit
from trilight.sw.power.parts import Breakdown
from trilight.sw.train.corpus import FEWEST_CHARACTERS, read_corpus

from .structure import join_header, mutate_json, mutate_value, split_header
from .target import AnyOf, Target, as_file, same_json

DEVICE = board_device()

__all__ = ["CSV", "IMAGE", "MEASUREMENTS", "MODEL", "RESULTS", "TEXTS"]

MIN = ModelConfig(vocab_size=16, d_model=16, n_layers=1, d_hidden=16)
OTHER = ModelConfig(vocab_size=17, d_model=21, n_layers=2, d_hidden=33)
DRAWS = 64
"""Random draws of an interval; the parsers do not depend on their number."""


def _models() -> Iterator[Model]:
    for config in (MIN, OTHER):
        yield Model.random(config, 1)


# Model files

def _split_model(data: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes] | None:
    """Header, metadata and tensors of a model file; ``None`` if it has none."""
    if (parts := split_header(data)) is None:
        return None
    header, tensors = parts
    try:
        about = json.loads(header["__metadata__"]["trilight"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return (header, about, tensors) if isinstance(about, dict) else None


def _join_model(header: dict[str, Any], about: dict[str, Any], tensors: bytes) -> bytes | None:
    try:
        about["checksum"] = checksum(about)
        header["__metadata__"] = {"trilight": json.dumps(about)}
    except (ValueError, TypeError):
        return None
    return join_header(header, tensors)


def _mutate_model(data: bytes, seed: int) -> bytes | None:
    parts = _split_model(data)
    if parts is None:
        return None
    header, about, tensors = parts
    rng = Random(seed)
    if rng.random() < 0.7:
        about = mutate_value(about, rng)
    else:
        del header["__metadata__"]
        header = mutate_value(header, rng)
    return _join_model(header, about, tensors) if isinstance(about, dict) and isinstance(
        header, dict) else None


def _load_model(data: bytes) -> None:
    try:
        _parse_model(data)
    except ModelFileError:
        # The same with true checksums, which keep the rest out of reach.
        parts = _split_model(data)
        sealed = _join_model(*parts) if parts else None
        if sealed is None:
            raise
        try:
            _parse_model(sealed)
        except ModelFileError as error:
            digest = re.search(r"have SHA-256 ([0-9a-f]{64})", str(error))
            if digest is None:
                raise
            parts[1]["sha256"] = digest[1]
            _parse_model(_join_model(*parts))


def _parse_model(data: bytes) -> None:
    model = Model.load(as_file(data))
    path = as_file(b"")
    model.save(path)
    again = Model.load(path)
    assert again.sha256 == model.sha256, "a model that was written and read computes otherwise"
    assert again.vocab == model.vocab, "a model's vocabulary did not survive"
    assert same_json(again.provenance, model.provenance), "a model's provenance did not survive"


def _model_seeds() -> Iterator[bytes]:
    for model in _models():
        path = as_file(b"")
        model.save(path)
        yield path.read_bytes()


MODEL = Target(what="model files (Model.load)", parse=_load_model, refusals=(ModelFileError,),
               seeds=_model_seeds, mutate=_mutate_model, longest=16384)


# Images

def _load_image(data: bytes) -> None:
    try:
        image = Image.from_bytes(data)
    except ImageError:
        image = Image.from_bytes(data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little"))
    written = image.to_bytes()
    again = Image.from_bytes(written)
    assert again.to_bytes() == written, "an image that was written and read differs"
    assert (again.config, again.units) == (image.config, image.units), "an image differs"


def _image_seeds() -> Iterator[bytes]:
    for model in _models():
        image = compile_image(model, DEVICE)
        yield image.to_bytes()
        short = [(address, units[:3]) for address, units in image.segments]
        yield Image(config=image.config, model_sha256=image.model_sha256,
                    segments=short).to_bytes()


IMAGE = Target(what="model images (Image.from_bytes)", parse=_load_image, refusals=(ImageError,),
               seeds=_image_seeds, longest=16384)


# Recordings

_CSV_SETTINGS = ({}, {"volts": "5.0"}, {"current": "I[mA]", "voltage": "V"})


def _read_recording(data: bytes) -> None:
    path = as_file(data)
    refused: list[MeterError] = []
    for settings in _CSV_SETTINGS:
        try:
            recording = read_csv(path, MeterOptions(spec="csv", settings=settings))
        except MeterError as error:
            refused.append(error)
            continue
        again = Recording.from_dict(json.loads(json.dumps(recording.to_dict())))
        assert same_json(again.to_dict(), recording.to_dict()), "a recording did not survive"
    if len(refused) == len(_CSV_SETTINGS):
        raise refused[0]


def _csv_seeds() -> Iterator[bytes]:
    yield b"time,voltage,current\n0,5,0.1\n0.1,5,0.2\n0.2,5.1,0.1\n"
    yield b"Time (ms);Voltage (V);Current (mA)\n0;5,0;100,5\n1;5,0;101\n2;4,9;99,5\n"
    yield b"# x\npreamble\nDate\tP (mW)\n2026-01-01T00:00:00\t12\n2026-01-01T00:00:01\t13.5\n"
    yield b't,"I[mA]",V\n1700000000.0,1,2\n1700000000.5,nan,2\n1700000001,3,2\n'
    yield b"\xef\xbb\xbfelapsed (\xc2\xb5s),P/W\n0,1\n10,2\n20,2\n"


CSV = Target(what="recordings of meters (read_csv)", parse=_read_recording, refusals=(MeterError,),
             seeds=_csv_seeds)


# Sessions of measurement

Record = TypeVar("Record", bound=Kept)


def _read_kept(kind: type[Record], path: Path) -> Record:
    kept = kind.load(path)
    kept.save(path)
    assert same_json(kind.load(path).to_dict(), kept.to_dict()), f"a {kind.KIND} changed"
    return kept


def _read_session(path: Path) -> None:
    finish(_read_kept(SessionLog, path))


def _read_correction(path: Path) -> None:
    _read_kept(Correction, path).apply(_recording())


def _read_calibration(path: Path) -> None:
    _read_kept(Calibration, path)


def _recording() -> Recording:
    t_s = np.arange(0.0, 60.0, 0.5)
    volts = np.full_like(t_s, 5.0)
    amperes = np.where((t_s > 12) & (t_s < 48), 0.2, 0.1)
    return Recording(
        t_s=t_s, watts=volts * amperes, boundary="board", volts=volts, amperes=amperes,
        marks=(Mark("begin window 1", 15.0),),
        metadata=MeterMetadata(type="csv", rate_hz=2.0, gain_limit=0.01, offset_limit_w=0.001,
                               accuracy="assumed", sync="the host's clock"))


CORRECTION = Correction(gain=1.01, offset_a=0.001, u_gain=0.002, u_offset_a=1e-4,
                        method="a resistor", meter="csv:x", utc="2026-01-01T00:00:00+00:00")


def _measurement_seeds() -> Iterator[bytes]:
    utc = CORRECTION.utc
    session = SessionLog(
        meter="csv:x", utc=utc, host_minus_epoch_s=-1.7e9, recording=_recording(),
        phases=[Phase("idle", "idle before", 1, 11), Phase("warm-up", "warm-up", 12, 14),
                *(Phase("window", f"window {k}", 15 + 10 * k, 24 + 10 * k, 1000)
                  for k in range(3)),
                Phase("idle", "idle after", 49, 59)])
    reading = Reading(point="idle 12 MHz", clock_hz=12e6, watts=1e-3, sigma_w=1e-5,
                      runs_w=(1e-3, 1.01e-3), volts=1.2, utc=utc)
    calibration = Calibration(
        meter="csv:x", board="icebreaker", utc=utc, correction=CORRECTION,
        readings={reading.point: reading}, prediction={"p50": 0.01},
        accelerator=Accelerator(predicted_w=0.01, predicted_low_w=0.008, predicted_high_w=0.012,
                                measured_w=0.011, measured_u_k2_w=0.001, utc=utc))
    for thing in (session, CORRECTION, calibration,
                  Calibration(meter="csv:x", board="icebreaker", utc=utc)):
        path = as_file(b"")
        thing.save(path)
        yield path.read_bytes()


# Results: coefficients, activities, reports

def _read_coefficients(path: Path) -> None:
    coefficients = load_fit(path)
    again = type(coefficients).from_json(coefficients.to_json())
    assert again.to_json() == coefficients.to_json(), "a coefficient set changed"
    estimate_power(_activity(), 24e6, coefficients=coefficients, draws=DRAWS)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise PowerError(str(error)) from error


def _read_activity(path: Path) -> None:
    activity = Activity.from_dict(_json(path))
    assert Activity.from_dict(activity.to_dict()) == activity, "an activity changed"
    estimate_power(activity, 24e6, draws=DRAWS)


def _read_breakdown(path: Path) -> None:
    breakdown = Breakdown.from_dict(_json(path))
    assert same_json(Breakdown.from_dict(breakdown.to_dict()).to_dict(), breakdown.to_dict()), \
        "a breakdown changed"
    energy_by_part(breakdown, 24e6, draws=DRAWS)


def _activity() -> Activity:
    release = _release()
    return Activity.from_dict(release["activity"]["busy"])


def _release() -> dict[str, Any]:
    file = resources.files("trilight.boards.releases").joinpath("icebreaker.json")
    release: dict[str, Any] = json.loads(file.read_text())
    return release


def _result_seeds() -> Iterator[bytes]:
    yield load_coefficients().to_json().encode()
    yield json.dumps(_activity().to_dict()).encode()
    breakdown = _release()["activity"]["breakdown"]
    yield json.dumps({**breakdown, "stages": breakdown["stages"][:3]}).encode()
    figure = {"value": 1000.0, "unit": "tokens/J", "provenance": "modelled", "source": "a model",
              "boundary": "fpga_core", "interval": {"p05": 500.0, "p50": 1000.0, "p95": 2000.0},
              "u_k2": None, "runs": None, "calibration": "uncalibrated", "reason": None}
    yield json.dumps({
        "schema": "trilight/bench/v1",
        "systems": [{"name": "netlist", "device": {"description": "a chip"}, "figures": {
            name: figure for name in ("tokens_per_joule", "joules_per_token", "tokens_per_s",
                                      "bits_per_byte")}}],
        "model": {"ternary_weights": 1000, "ternary_weights_per_token": 1000},
        "quality": {"dataset": "a play"}}).encode()


# Texts

def _read_corpus(path: Path) -> None:
    data = path.read_bytes()
    if data:
        # As long as a corpus has to be, whatever the characters take.
        path.write_bytes(data * -(-4 * FEWEST_CHARACTERS // len(data)))
    corpus = read_corpus(path, max_vocab=256)
    text = "".join(corpus.vocab[token] for token in [*corpus.train, *corpus.held_out])
    assert text.encode() == path.read_bytes().removeprefix(b"\xef\xbb\xbf"), "a corpus changed"


def _text_seeds() -> Iterator[bytes]:
    yield b"ROMEO:\nTo be, or not to be\n" * 60
    yield "ROMEO: \xe4\u20ac\U0001f600\n".encode()


MEASUREMENTS = Target(
    what="sessions, corrections and calibrations (JSON)", parse=AnyOf(
        {_read_session: (MeterError,), _read_correction: (MeterError,),
         _read_calibration: (CalibrationError,)}),
    refusals=(MeterError, CalibrationError), seeds=_measurement_seeds, mutate=mutate_json,
    longest=16384)

RESULTS = Target(
    what="power coefficients, activities, reports (JSON)", parse=AnyOf(
        {_read_coefficients: (PowerError,), _read_activity: (PowerError,),
         _read_breakdown: (PowerError,), entry_of_file: (BenchError,)}),
    refusals=(PowerError, BenchError), seeds=_result_seeds, mutate=mutate_json, longest=16384)

TEXTS = Target(
    what="corpora, prompts",
    parse=AnyOf({_read_corpus: (CorpusError,), load_prompts: (BenchError,)}),
    refusals=(CorpusError, BenchError), seeds=_text_seeds)
