"""A Trilight as a row of the field."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trilight.sw.errors import BenchError
from trilight.sw.host.generation import Generated, LastRun
from trilight.sw.model.model import Model
from trilight.sw.records import read_record
from trilight.sw.report.releases import load_releases
from trilight.sw.report.report import build_report
from trilight.sw.report.run import Run

from .document import SCHEMA
from .field import FieldEntry
from .figures import ends

__all__ = ["entry_of_document", "entry_of_file", "entry_of_release"]


def entry_of_document(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """The first system of a benchmark; ``None`` if its energy is not known."""
    system, model = document["systems"][0], document["model"]
    return _entry(system["figures"], model, name=f"Trilight, {system['name']}",
                  device=system["device"]["description"], quality=document["quality"]["dataset"])


def entry_of_file(path: Path) -> dict[str, Any] | None:
    """The first system of a benchmark's JSON file.

    Raises
    ------
    BenchError
        The file cannot be read or is none of ``trilight bench``.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        schema = document["schema"]
    except OSError as error:
        raise BenchError(f"report {path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BenchError(f"report {path} is none of trilight bench --json: {error!r}") from error
    if schema != SCHEMA:
        raise BenchError(f"report {path} has schema {schema!r}, not {SCHEMA!r}; make it again with "
                         "trilight bench --json")
    try:
        return entry_of_document(document)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError,
            BenchError) as error:
        raise BenchError(f"report {path} is damaged ({error!r}); make it again with trilight bench "
                         "--json") from error


def entry_of_release(model: Model) -> dict[str, Any] | None:
    """The released build with a model; ``None`` if it was not counted with that model."""
    text = Generated(prompt="", text="", token_ids=(), seed=0)
    nothing = LastRun(generated=(text,), sequences=1, temperature=0, cycles=None, words=0, tokens=0,
                      prompt_cycles=None, host_seconds=0, repeats=0)
    report = build_report(Run(model=model, target="reference", generation=nothing),
                          load_releases())
    quality = report["model"]["quality"]
    return _entry(report["figures"],
                  {"ternary_weights": model.config.ternary_weights,
                   "ternary_weights_per_token": model.config.ternary_weights_per_token},
                  name="Trilight, released build", device=(report["release"] or {}).get("board"),
                  quality=quality and quality.get("dataset"))


def _entry(figures: Mapping[str, Any], model: Mapping[str, Any], *, name: str,
           device: str | None, quality: str | None) -> dict[str, Any] | None:
    energy = figures["tokens_per_joule"]
    if energy["value"] is None:
        return None
    low, high = ends(energy)
    weights = model["ternary_weights_per_token"]
    entry = {
        "name": name, "device": device or "unknown build",
        "model": f"MatMul-free, {model['ternary_weights']:,} ternary weights, characters",
        "source": "this benchmark", "url": None, "boundary": energy["boundary"],
        "status": energy["provenance"], "parameters": model["ternary_weights"],
        "bits_per_byte": figures["bits_per_byte"]["value"], "quality_data": quality,
        "tokens_per_s": figures["tokens_per_s"]["value"], "note": energy["source"],
        "joules_per_token": list(ends(figures["joules_per_token"])),
        "tokens_per_joule": [low, high],
        "giga_ternary_macs_per_joule": [low * weights / 1e9, high * weights / 1e9],
    }
    return asdict(read_record(FieldEntry, entry, BenchError, "row of the field"))
