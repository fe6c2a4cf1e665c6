"""The benchmark's object, schema ``trilight/bench/v1``: every system in one form, and warnings."""

import hashlib
import json
import shutil
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trilight.hw.support.boards import board_device
from trilight.sw.host.generation import LastRun
from trilight.sw.model.model import Model
from trilight.sw.records import utc_now
from trilight.sw.report.report import NOTES

from .compare import compare_rival, compare_systems
from .field import Rival, rival_entry
from .system import Carbon
from .workload import Workload

__all__ = ["SCHEMA", "Protocol", "build_document", "load_schema"]

SCHEMA = "trilight/bench/v1"


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Protocol of measuring energy, after MLPerf Tiny: windows of seconds, whose median counts."""

    warmup_s: float = 2.0
    windows: int = 5
    window_s: float = 10.0
    idle_s: float = 10.0


@cache
def load_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) that every document keeps to."""
    text = resources.files("trilight.sw.bench").joinpath("schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def build_document(systems: Sequence[Mapping[str, Any]], *, model: Model, workload: Workload,
                   reference: Sequence[LastRun], quality: Mapping[str, Any] | None,
                   protocol: Protocol, carbon: Carbon | None,
                   rivals: Sequence[Rival]) -> dict[str, Any]:
    """Put systems beside each other and beside the field.

    Parameters
    ----------
    systems
        Objects that ``system`` makes; the document is about the first.
    model, workload
        Model and queries that all of them ran.
    reference
        Runs of the integer reference.
    quality
        Quality that the model file states.
    protocol
        Protocol of the measurements.
    carbon
        Carbon intensity, if stated.
    rivals
        Systems of the field.
    """
    first, *others = systems
    field = [rival_entry(rival) for rival in rivals]
    comparisons = [entry for entry in (
        *(compare_systems(first, other) for other in others),
        *(compare_rival(first, rival) for rival in field)) if entry]
    return {
        "schema": SCHEMA,
        "run_id": uuid.uuid4().hex,
        "utc": utc_now(),
        "tool": {"name": "trilight", "version": version("trilight"), "git_sha": _git_sha()},
        # Tokens per joule of the total energy, and the quality without which it means little.
        "headline": {"system": first["name"], **{
            name: first["figures"][name] for name in ("tokens_per_joule", "bits_per_byte")}},
        "model": _model(model),
        "quality": {
            "metric": "bits_per_byte",
            **{key: (quality or {}).get(key) for key in
               ("dataset", "split", "protocol", "text_sha256", "bytes_scored")},
            "evaluated_on": "reference" if quality else None,
            "bit_exact": first["tokens"]["same_as_reference"],
        },
        "workload": _workload(workload, reference),
        "protocol": {**asdict(protocol), "statistic": "median",
                     "used": any(system["measurement"] for system in systems)},
        "carbon": carbon and asdict(carbon),
        "systems": list(systems),
        "field": field,
        "comparisons": comparisons,
        "warnings": _warnings(systems, comparisons),
        "notes": list(NOTES) if first["power_model"] else [],
    }


def _model(model: Model) -> dict[str, Any]:
    config = model.config
    packing = board_device().packing
    bits = packing.word_bits * config.weight_words(packing)
    return {"sha256": model.sha256, **config.to_dict(),
            "ternary_weights": config.ternary_weights,
            "ternary_weights_per_token": config.ternary_weights_per_token,
            "bits_per_weight": bits / config.ternary_weights}


def _workload(workload: Workload, reference: Sequence[LastRun]) -> dict[str, Any]:
    tokens = [list(run.token_ids) for run in reference]
    return {
        "sha256": workload.sha256,
        "prompts": list(workload.prompts),
        "n_prompt_tokens": sum(len(prompt) for prompt in workload.prompts),
        "n_generated_tokens": sum(len(ids) for ids in tokens),
        "bytes_out": sum(len(run.text.encode()) for run in reference),
        "tokens_per_query": workload.tokens,
        "tokenizer": "characters",
        "temperature": workload.temperature,
        "seeds": [request.seed for request in workload.requests],
        "batch": 1,
        "tokens_sha256": hashlib.sha256(json.dumps(tokens).encode()).hexdigest(),
        "text": [run.text for run in reference],
    }


def _warnings(systems: Sequence[Mapping[str, Any]], comparisons: Sequence[Mapping[str, Any]],
              ) -> list[dict[str, str]]:
    """Everything that a reader must not miss, each once, and what it is about."""
    first = systems[0]
    found = [("system", f"{system['name']}: {text}")
             for system in systems for text in system["warnings"]]
    if place := first["tokens"]["first_difference"]:
        text = f"generated other tokens than the reference, first at {place}"
        found.append(("system", f"{first['name']} {text}: none of its figures count"))
    baselines = {system["name"] for system in systems[1:]}
    alike: dict[tuple[str, ...], list[str]] = {}
    for entry in comparisons:
        if entry["warnings"]:
            about = "baseline" if entry["other"] in baselines else "field"
            alike.setdefault((about, *entry["warnings"]), []).append(entry["other"])
    for (about, *why), names in alike.items():
        found.append((about, f"{first['name']} does not compare with {', '.join(names)}: "
                             + "; ".join(why)))
    return [{"about": about, "text": text} for about, text in found]


def _git_sha() -> str | None:
    """Commit of the checkout that this package runs from; ``None`` outside of one."""
    root = Path(__file__).resolve().parents[2]
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    result = subprocess.run([git, "-C", str(root), "rev-parse", "HEAD"], capture_output=True,
                            text=True, check=False)
    return result.stdout.strip() or None
