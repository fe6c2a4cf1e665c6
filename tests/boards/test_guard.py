"""Figures of a build against their record: what passes, what fails, and what is said."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trilight.boards import command as commands
from trilight.boards.command import guard_command
from trilight.boards.echo import Echo
from trilight.boards.guard import GUARDED, check, compare, load_record, record
from trilight.boards.guards import record_path
from trilight.boards.icebreaker import Icebreaker
from trilight.boards.releases import icebreaker
from trilight.hw.flow.build import build, synthesise
from trilight.sw.errors import RegressionError, TimingError

PATHS = {
    "logic cells": ("resources", "lc"),
    "block RAMs": ("resources", "ebr"),
    "clock of the build": ("clock_hz",),
    "cycles per token": ("cycles_per_token",),
    "multiplications": ("activity", "busy", "dsp_ops"),
    "net transitions at rest": ("activity", "idle", "net_transitions"),
}


def changed(figures: dict[str, Any], path: tuple[str, ...], factor: float,
            plus: float = 0) -> dict[str, Any]:
    """The figures with one of them multiplied, then increased."""
    result = place = copy.deepcopy(figures)
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = place[path[-1]] * factor + plus
    return result


def test_same_figures_pass() -> None:
    release = icebreaker()
    check(compare(release, record(release)))


@pytest.mark.parametrize("name", PATHS)
def test_worse_figure_is_named_and_better_passes(name: str) -> None:
    release = icebreaker()
    [guarded] = [g for g in GUARDED if g.name == name and g.applies(release)]
    edge = 1 + (-1 if guarded.higher_is_better else 1) * guarded.tolerance
    worse = changed(release, PATHS[name], edge * (0.999 if guarded.higher_is_better else 1.001),
                    guarded.slack * 1.001)
    with pytest.raises(RegressionError) as caught:
        check(compare(worse, record(release)))
    [_, line, _] = str(caught.value).splitlines()
    assert line.strip().startswith(f"{name}: ")
    assert guarded.why in line
    better = changed(release, PATHS[name], 1.1 if guarded.higher_is_better else 0.9)
    check(compare(better, record(release)))


def test_sentence_says_how_much() -> None:
    release = icebreaker()
    release["resources"]["lc"] = 4000
    worse = changed(release, ("resources", "lc"), 1.05)
    with pytest.raises(RegressionError, match=r"logic cells: 4,200 LC, recorded 4,000 LC: "
                                              r"\+5\.00 %, and 2 % is allowed"):
        check(compare(worse, record(release)))


def test_clock_is_the_median_of_the_seeds() -> None:
    release = icebreaker()
    release["fmax_hz"] = {"1": 50e6, "2": 40e6, "3": 10e6}
    before = record(release)
    release["fmax_hz"] = {"1": 36.1e6}
    check(compare(release, before))
    release["fmax_hz"] = {"1": 35.9e6}
    with pytest.raises(RegressionError, match=r"median of seeds: 35\.90 MHz, recorded 40 MHz: "
                                              r"-10\.25 %, and 10 % is allowed"):
        check(compare(release, before))


@pytest.mark.parametrize(("change", "message"), [
    (lambda text: text.replace("logic cells", "cells"), r"lacks logic cells; .* --update"),
    (lambda text: re.sub(r"\d+\.0\b", '"many"', text, count=1),
     r"no record of a build \(Expected `float`"),
    (lambda text: text.replace("tools", "tolls"), r"no record of a build \(.*`tools`"),
    (lambda text: text[:-2], "no record of a build"),
    (lambda text: "\0", "no record of a build"),
    (lambda text: "[" * 100_000, "no record of a build"),
])
def test_file_that_is_no_record(change: Callable[[str], str], message: str,
                                tmp_path: Path) -> None:
    path = tmp_path / "icebreaker.json"
    path.write_text(change(json.dumps(record(icebreaker()))))
    with pytest.raises(RegressionError, match=message):
        compare(icebreaker(), load_record(path))


def test_what_is_recorded_can_be_compared() -> None:
    recorded = load_record(record_path("icebreaker"))
    compare(icebreaker(), recorded)
    assert set(recorded["figures"]) == {
        guarded.name for guarded in GUARDED if guarded.applies(icebreaker())}


def test_a_part_has_figures_of_its_own_resources() -> None:
    """No SPRAM is missed where there is none, and look-up tables are counted instead of cells."""
    figures = icebreaker() | {"resources": {"lut4": 3341, "ebr": 85, "dsp": 6}}
    kept = record(figures)
    assert kept["figures"]["look-up tables"] == 3341
    assert not {"logic cells", "weight memories", "SPRAM accesses"} & set(kept["figures"])
    check(compare(figures, kept))
    with pytest.raises(RegressionError, match="look-up tables: 3,410 LUT4, recorded 3,341"):
        check(compare(figures | {"resources": {"lut4": 3410, "ebr": 85, "dsp": 6}}, kept))


def test_a_family_whose_cells_are_not_counted_has_no_activity() -> None:
    figures = {key: value for key, value in icebreaker().items() if key != "activity"}
    kept = record(figures)
    assert "cycles per token" in kept["figures"]
    assert not {"net transitions", "multiplications"} & set(kept["figures"])
    check(compare(figures, kept))


def test_command_fails_records_and_passes(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    release = icebreaker()
    simulated = {name: release[name] for name in (
        "model_sha256", "cycles_per_token", "activity", "simulation_tools")}
    hook = SimpleNamespace(load=lambda: lambda netlist, progress: simulated)
    monkeypatch.setattr(commands, "entry_points", lambda group: [hook])
    monkeypatch.setattr(commands, "find_board", lambda name: Icebreaker(chip=Echo))
    monkeypatch.setattr(commands, "record_path", lambda board: tmp_path / f"{board}.json")
    with monkeypatch.context() as without:
        without.setattr(commands, "load_release", lambda board: None)
        with pytest.raises(RegressionError, match="nothing is recorded for icebreaker"):
            guard_command()
    # What is released is the record of a board that has no other.
    guard_command(seeds="1")
    assert "better" in capsys.readouterr().err
    guard_command(seeds="1", update=True)
    recorded = json.loads((tmp_path / "icebreaker.json").read_text())
    guard_command()
    assert "better" not in capsys.readouterr().err

    recorded["figures"]["logic cells"] -= 10
    recorded["tools"]["amaranth"] = "0.0.1"
    (tmp_path / "icebreaker.json").write_text(json.dumps(recorded))
    out = tmp_path / "comparison.json"
    with pytest.raises(RegressionError, match=r"logic cells: .* LC, recorded"):
        guard_command(json_file=out)
    assert "the record was made with 0.0.1" in capsys.readouterr().err
    assert [c["figure"] for c in json.loads(out.read_text()) if c["failed"]] == ["logic cells"]

    recorded["figures"]["logic cells"] += 20
    (tmp_path / "icebreaker.json").write_text(json.dumps(recorded))
    guard_command()
    assert "trilight guard --update" in capsys.readouterr().err

    del recorded["figures"]["logic cells"]
    (tmp_path / "icebreaker.json").write_text(json.dumps(recorded))
    with pytest.raises(RegressionError, match="lacks logic cells"):
        guard_command()
    guard_command(seeds="1", update=True)
    guard_command()
    with pytest.raises(RegressionError, match="there is no folder"):
        guard_command(json_file=tmp_path / "none" / "a.json")


def test_too_slow_a_build_still_has_figures() -> None:
    board = Icebreaker(chip=Echo)
    board.clock_hz = 500_000_000  # beyond any placement
    with pytest.raises(TimingError) as caught:
        build(board, seeds=[1])
    assert caught.value.figures["fmax_hz"]["1"] < board.clock_hz
    assert caught.value.figures["netlist_sha256"] == synthesise(board).sha256


