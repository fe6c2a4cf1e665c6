"""Parsers of settings, and of what programs of this project keep between two runs."""

import json
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import typer
from typer.main import get_command

from trilight.boards.guard import check, compare, load_record
from trilight.boards.guards import record_path
from trilight.boards.releases import icebreaker
from trilight.hw.contract.device import Device
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.support.boards import board_device
from trilight.sim.explore.results import csv_text, evaluate, pareto
from trilight.sim.explore.sweep import Sweep, parse_sweep
from trilight.sim.explore.tasks import Store, Task, tasks_of
from trilight.sw.cli.train import train_command
from trilight.sw.errors import (
    BoardError,
    ExploreError,
    ModelDoesNotFitError,
    PowerError,
    RegressionError,
    ReportError,
    TrainingError,
)
from trilight.sw.report.summary import gather, markdown_summary, text_summary
from trilight.sw.train.shape import choose_config

from .structure import mutate_json, mutate_value
from .target import AnyOf, Target, as_file

__all__ = ["RECORDS", "SETTINGS"]

MIN = ModelConfig(vocab_size=16, d_model=16, n_layers=1, d_hidden=16)
VOCABULARY = 65
MAX_POINTS = 100
"""Of a sweep that are listed."""
MAX_ROWS = 1000
"""Of all models of a sweep that is evaluated: the time grows with them."""


# Settings: recipes and sweeps (TOML)

@cache
def _training() -> Any:
    app = typer.Typer()
    app.command()(train_command)
    return get_command(app)


def _read_recipe(path: Path) -> None:
    """As ``trilight train`` does before it needs a corpus."""
    recipe = as_file(path.read_bytes(), "mine.toml")
    try:
        context = _training().make_context(
            "train", ["--corpus", "x", "--out", "y", "--recipe", str(recipe)])
    except typer.BadParameter as error:
        # Of an option, in the same words as if it had been typed.
        raise TrainingError(error.format_message()) from error
    shape = {name: context.params[name] for name in ("d_model", "layers", "hidden")}
    device = context.obj.memory or board_device(context.params["board"])
    _chosen(device, **shape).check_fits(device)
    assert str(context.obj.about) is context.obj.about, "what it is for is no text"


@cache
def _chosen(device: Device, **shape: int | None) -> ModelConfig:
    """Looking for a shape takes far longer than all else."""
    return choose_config(VOCABULARY, device, **shape)


def _read_sweep(path: Path) -> None:
    sweep = parse_sweep(path, {}, MIN)
    sweep.designs()
    for number, point in enumerate(sweep.points()):
        assert point.sequences >= 1, "a point without a text"
        if number == MAX_POINTS:
            break
    rows = sum(model.n_layers * (model.d_model + model.d_hidden) for model in sweep.models())
    if len(sweep.designs()) * len(sweep.sequences) * rows <= MAX_ROWS:
        evaluate(sweep, Store(_empty_folder()))


def _setting_seeds() -> Iterator[bytes]:
    yield b'about = "A tiny one."\n[train]\nd_model = 40\nlayers = 2\ncompile = "off"\n'
    yield b"[memory]\nweight_words = 1024\n[train]\ncharacters = 9_000\ndropout = 0.05\nseed = 3\n"
    yield b'[train]\nnetwork = "float"\nboard = "icebreaker"\nteacher = ["a", "b"]\nresume = 1\n'
    yield b'board = "icebreaker"\nclock_hz = [24e6, 30e6]\nsequences = [1, 2]\nseeds = 3\n'
    yield b"[model]\nd_model = [40, 80]\nn_layers = 1\n[device]\nweight_words = [8192, 16384]\n"
    yield b"[model]\nvocab_size = 65\nd_hidden = [1, 2, 3]\n[device]\nsequences = 1\n"


def _mutate_toml(data: bytes, seed: int) -> bytes | None:
    try:
        document = tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        return None
    document = mutate_value(document, Random(seed))
    if not isinstance(document, dict):
        return None
    tables = {key: value for key, value in document.items() if isinstance(value, dict)}
    lines = [f"{json.dumps(key)} = {_toml(value)}"
             for key, value in document.items() if key not in tables]
    for key, table in tables.items():
        lines += [f"[{json.dumps(key)}]", *(f"{json.dumps(name)} = {_toml(value)}"
                                            for name, value in table.items())]
    return "\n".join(lines).encode()


def _toml(value: Any) -> str:
    """A value as TOML; it has dates and no null."""
    match value:
        case None:
            return "2026-01-01"
        case float():
            return repr(value)
        case list():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{json.dumps(str(key))} = {_toml(one)}"
                                   for key, one in value.items()) + "}"
    return json.dumps(value, default=str)


SETTINGS = Target(
    what="recipes and sweeps (TOML)", parse=AnyOf(
        {_read_recipe: (TrainingError, ModelDoesNotFitError, BoardError),
         _read_sweep: (ExploreError, BoardError)}),
    refusals=(TrainingError, ModelDoesNotFitError, ExploreError, BoardError),
    seeds=_setting_seeds, mutate=_mutate_toml)


# Records: results of a sweep, figures of a build, sections of a summary (JSON)

SWEEP = Sweep(clock_hz=(24e6,), seeds=(1,), sequences=(1, 2),
              model={name: (value,) for name, value in MIN.to_dict().items()})


def _empty_folder() -> Path:
    """A folder of no results."""
    return as_file(b"", "results/results.jsonl").parent


@cache
def _tasks() -> list[Task]:
    [tasks] = tasks_of(SWEEP, activity=True).values()
    return tasks


def _read_results(path: Path) -> None:
    """A folder of results whose tasks all gave what the input says of their kind."""
    data = path.read_bytes()
    folder = _empty_folder()
    store = Store(folder)
    try:
        found = json.loads(data)
        for task in _tasks():
            store.put(task, found[task.kind])
    except (ValueError, RecursionError, LookupError, TypeError) as error:
        raise ExploreError(str(error)) from error
    outcomes, waiting = evaluate(SWEEP, Store(folder))
    assert len(outcomes) + waiting == 2, "a point is lost"
    json.dumps([outcome.to_dict() for outcome in outcomes])
    assert csv_text(outcomes, pareto(outcomes)).count("\n") > len(outcomes)


def _read_record(path: Path) -> None:
    recorded = load_record(path)
    comparisons = compare(_figures(), recorded)
    for comparison in comparisons:
        comparison.sentence()
    check(comparisons)


@cache
def _figures() -> dict[str, Any]:
    return icebreaker()


def _read_topics(path: Path) -> None:
    """The same file as a section, as the comparison of a guard and as the report of a demo."""
    folder = as_file(path.read_bytes(), "build/ci/section.json").parent
    results = (folder.parent / "guard.json", folder.parent / "demo.json")
    refused = []
    for place in (folder / "section.json", *results):
        for other in (folder / "section.json", *results):
            other.unlink(missing_ok=True)
        place.write_bytes(path.read_bytes())
        try:
            sections = gather(folder)
        except ReportError as error:
            refused.append(error)
            continue
        assert len(text_summary(sections)) > 1, "nothing is shown"
        markdown_summary(sections)
    if len(refused) == 1 + len(results):
        raise refused[0]


def _record_seeds() -> Iterator[bytes]:
    figures = _figures()
    yield json.dumps({
        "synthesis": {"cells": {"SB_LUT4": 3}},
        "placement": {"resources": {"lc": 4000, "ebr": 30}, "fmax_hz": {"1": 50e6}},
        "activity": {"activity": {"busy": figures["activity"]["busy"]}}}).encode()
    yield json.dumps({"synthesis": {"failed": "no"}, "placement": {"failed": "does not fit"},
                      "activity": {"failed": "no"}}).encode()
    yield record_path("icebreaker").read_bytes()
    yield json.dumps({"title": "Mutants", "rows": [["killed", 1240, "of 1,250"], ["a", "b", ""]],
                      "seed": 1, "command": "make x"}).encode()
    yield json.dumps([{"figure": "logic cells", "found": 4043, "unit": "LC", "recorded": 4043,
                       "worse_by": 0, "allowed": 80.9, "failed": False}]).encode()
    known = {"value": 2872.0, "unit": "tokens/s", "provenance": "counted", "interval": None}
    yield json.dumps({"figures": {
        "tokens_per_s": known, "tokens_per_joule": {
            **known, "interval": {"p05": 1.0, "p50": 2.0, "p95": 3.0}},
        "joules_per_token": {"value": None, "reason": "no clock"},
        "bits_per_byte": known}}).encode()


RECORDS = Target(
    what="results of sweeps, records of builds, sections of summaries (JSON)", parse=AnyOf(
        {_read_results: (ExploreError, PowerError), _read_record: (RegressionError,),
         _read_topics: (ReportError,)}),
    refusals=(ExploreError, PowerError, RegressionError, ReportError), seeds=_record_seeds,
    mutate=mutate_json, longest=16384)
