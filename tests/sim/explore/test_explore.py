"""Sweeps: what is built, what is kept, what beats what; without building anything."""

import contextlib
import csv
import io
import json
import multiprocessing
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import LocalCluster

from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.support.boards import board_device
from trilight.sim.explore import command
from trilight.sim.explore.cluster import run_tasks
from trilight.sim.explore.command import explore_command
from trilight.sim.explore.plot import draw
from trilight.sim.explore.results import csv_text, evaluate, pareto
from trilight.sim.explore.sweep import DEVICE, Sweep, SweepDesign, parse_sweep
from trilight.sim.explore.tasks import Store, Task, reason, tasks_of
from trilight.sw.errors import ClusterError, ExploreError
from trilight.sw.report.performance import predict

MODEL = ModelConfig(vocab_size=65, d_model=40, n_layers=2, d_hidden=100)
BUSY = {"clock_nets": 1, "ff_clocked": 2000, "net_transitions": 400, "ebr_accesses": 25,
        "spram_accesses": 4, "dsp_ops": 10, "io_edges": 0, "cycles": 1000}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A scheduler whose worker is a thread of this process, so that its tasks can be replaced; it
    has no socket."""
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, memory_limit=0,
                      dashboard_address="127.0.0.1:0") as cluster:
        assert cluster.scheduler_address.startswith("inproc://")
        yield cluster.scheduler_address


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """Tasks that have been run, none of them in earnest: a two-text chip is larger and slower."""
    done: list[Task] = []

    def run(task: Task) -> dict[str, Any]:
        done.append(task)
        sequences = task.design.device_config.sequences
        if task.kind == "placement":
            assert task.seed is not None
            return {"resources": {"lc": 3000 + 500 * sequences, "ebr": 30},
                    "fmax_hz": {str(task.seed): 52e6 - 5e6 * (sequences - 1) - 1e6 * task.seed}}
        return {"activity": {"busy": BUSY}} if task.kind == "activity" else {"cells": {}}

    monkeypatch.setattr(Task, "run", run)
    return done


def sweep(**changes: Any) -> Sweep:
    sizes = {name: (value,) for name, value in MODEL.to_dict().items()}
    return Sweep(**{"clock_hz": (24e6, 48e6), "seeds": (1, 2), "sequences": (1, 2),
                    "device": {"sequences": (1, 2)}, "model": sizes, **changes})


def test_options_go_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text("clock_hz = [12e6, 24e6]\nseeds = 4\n[device]\nsequences = [1, 2]\n"
                    "[model]\nd_model = [40, 80]\nn_layers = 1\n")
    found = parse_sweep(path, {"clock_hz": [36e6], "model": {"n_layers": [2]}}, MODEL)
    assert found.clock_hz == (36e6,)
    assert found.seeds == (4,)
    assert {m.d_model for m in found.models()} == {40, 80}
    assert {(m.n_layers, m.vocab_size) for m in found.models()} == {(2, MODEL.vocab_size)}
    # What is as in the board's device is no change, so that it is the same design.
    assert [d.device for d in found.designs()] == [(("sequences", 1),), ()]


@pytest.mark.parametrize(("text", "message"), [
    ("clock = 3", "there is no clock; a sweep has .*clock_hz"),
    ("seeds = []", "at least one placement seed"),
    ("seeds = ['a']", "seeds has to be numbers"),
    ("[device]\ntracks = 3", "there is no parameter 'tracks' to sweep; there is lanes"),
    ("[model]\nd_model = 0", "d_model has to be numbers from 1 to 512"),
    ("[model]\nn_layers = 8_000_000", "n_layers has to be numbers"),
    ("sequences = 0", "sequences has to be numbers from 1"),
    ("sequences = inf", "sequences has to be numbers"),
    ("clock_hz = nan", "clock_hz has to be numbers"),
    pytest.param(f"clock_hz = 1{400 * '0'}", "clock_hz has to be numbers", id="large"),
    ("board = 3", "board is a name"),
    pytest.param(f"seeds = {5000 * '['}", "is not TOML", id="deep"),
    pytest.param("[device]\n" + "".join(f"{name} = {list(range(1, 40))}\n" for name in DEVICE),
                 "at most 100,000 combinations", id="many"),
    ("model = 3", r"model is a table, \[model\]"),
    ("= 3", "is not TOML"),
])
def test_sweeps_that_are_none(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(text)
    with pytest.raises(ExploreError, match=message):
        parse_sweep(path, {}, MODEL).models()


def test_a_chip_for_one_text_is_not_asked_for_two() -> None:
    assert [(p.design.device_config.sequences, p.sequences) for p in sweep().points()] == [
        (1, 1), (1, 1), (2, 1), (2, 2), (2, 1), (2, 2)]


@pytest.mark.parametrize("text", [
    "3", "{}", '{"failed": null}', '{"resources": {"lc": 3}}',
    '{"resources": {"lc": 3000, "ebr": 30}, "fmax_hz": {"2": 5e7}}',
    '{"resources": {"lc": "many", "ebr": 30}, "fmax_hz": {"1": 5e7}}',
    '{"resources": {"lc": 3000, "ebr": 30}, "fmax_hz": {"1": 1e999}}',
    '{"activity": {"busy": []}}', '{"activity": {"busy": {"cycles": 3}}}',
])
def test_damaged_results_are_made_again(text: str, tmp_path: Path) -> None:
    which = sweep(clock_hz=(24e6,), seeds=(1,), sequences=(1,))
    every = [task for group in tasks_of(which, activity=True).values() for task in group]
    Store(tmp_path)
    with (tmp_path / "results.jsonl").open("a") as file:
        file.writelines(f'["{task.key}",{text}]\n' for task in every)
    store = Store(tmp_path)
    assert [store.get(task) for task in every] == [None] * len(every)
    assert evaluate(which, store) == ([], 2)


def test_key_depends_on_everything() -> None:
    design = SweepDesign(board="icebreaker", clock_hz=24e6)
    tasks = [Task(kind="synthesis", design=design),
             Task(kind="placement", design=design, seed=1),
             Task(kind="placement", design=design, seed=2),
             Task(kind="activity", design=design, model=MODEL),
             Task(kind="synthesis", design=SweepDesign(board="icebreaker", clock_hz=48e6)),
             Task(kind="synthesis", design=SweepDesign(board="icebreaker", clock_hz=24e6,
                                                  device=(("sequences", 1),)))]
    assert len({task.key for task in tasks}) == len(tasks)


def test_results_are_kept_and_not_made_twice(address: str, ran: list[Task],
                                             tmp_path: Path) -> None:
    store, done = Store(tmp_path), list[Task]()
    small, large = sweep(clock_hz=(24e6,)), sweep()
    for which in (small, large, large):
        run_tasks(tasks_of(which, activity=True), store, lambda task, _: done.append(task),
                  address=address)
    every = [task for group in tasks_of(large, activity=True).values() for task in group]
    assert sorted(task.key for task in done) == sorted(task.key for task in every)
    assert evaluate(large, store)[1] == 0
    # A design's synthesis runs before everything that needs it.
    for group in tasks_of(large, activity=True).values():
        assert min(group, key=ran.index) == group[0]


def test_interruption_keeps_what_there_is(address: str, ran: list[Task], tmp_path: Path) -> None:
    store = Store(tmp_path)
    kept: list[Task] = []

    def stop(task: Task, _: object) -> None:
        kept.append(task)
        if len(kept) == 3:
            raise KeyboardInterrupt

    tasks = tasks_of(sweep(), activity=True)
    with pytest.raises(KeyboardInterrupt):
        run_tasks(tasks, store, stop, address=address)
    assert all(store.get(task) is not None for task in kept)
    _, waiting = evaluate(sweep(), store)
    assert waiting > 0
    run_tasks(tasks, store, lambda *_: None, address=address)
    assert evaluate(sweep(), store)[1] == 0


def test_result_that_was_cut_off_is_made_again(tmp_path: Path) -> None:
    task = Task(kind="synthesis", design=SweepDesign(board="icebreaker", clock_hz=24e6))
    Store(tmp_path).put(task, {"cells": {}})
    assert Store(tmp_path).get(task) == {"cells": {}}
    path = tmp_path / "results.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    assert Store(tmp_path).get(task) is None


@pytest.mark.parametrize("line", ["x", "[" * 100_000, "3", '{"results": "of a soak"}'])
def test_file_of_something_else_is_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text(line + "\n")
    with pytest.raises(ExploreError, match="name another"):
        Store(tmp_path)


def test_figures_and_front(address: str, ran: list[Task], tmp_path: Path) -> None:
    store = Store(tmp_path)
    run_tasks(tasks_of(sweep(), activity=True), store, lambda *_: None, address=address)
    outcomes, _ = evaluate(sweep(), store)
    found = {(o.point.design.clock_hz, o.point.design.device_config.sequences,
              o.point.sequences): o for o in outcomes}
    fast = found[48e6, 1, 1]
    assert fast.tokens_per_s == 48e6 / predict(MODEL, device=board_device()).cycles_per_token
    assert (fast.logic, fast.seeds_met, fast.fmax_median_hz) == (3500, 2, 50.5e6)
    assert fast.tokens_per_joule is not None
    assert fast.power_mw is not None
    assert fast.tokens_per_joule.p50 == pytest.approx(
        1e3 * fast.tokens_per_s / fast.power_mw.p50)
    assert found[48e6, 2, 1].failed == "misses 48 MHz: 46.0 MHz at best"
    best = pareto(outcomes)
    assert fast in best
    assert found[48e6, 2, 1] not in best
    assert found[24e6, 2, 1] not in best  # larger than with one sequence, and no faster
    rows = list(csv.DictReader(io.StringIO(csv_text(outcomes, best))))
    assert [row["pareto"] for row in rows] == [str(o in best) for o in outcomes]
    json.dumps([o.to_dict() for o in outcomes])
    draw(outcomes, best, "Where it is from.", tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


IMPOSSIBLE_HZ = (60e6, 61e6, 62e6)
"""Clocks that no PLL setting makes, so that a task of them is done at once."""


def _impossible() -> dict[SweepDesign, list[Task]]:
    found = {}
    for clock in IMPOSSIBLE_HZ:
        design = SweepDesign(board="icebreaker", clock_hz=clock)
        found[design] = [Task(kind="synthesis", design=design),
                         Task(kind="placement", design=design, seed=1)]
    return found


def _listening(processes: list[psutil.Process]) -> set[str]:
    """Sockets on which processes wait for others: of a network, or with a name."""
    found: set[str] = set()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            found |= {str(connection.laddr) for connection in process.net_connections(kind="all")
                      if connection.status == psutil.CONN_LISTEN
                      or (connection.family == socket.AF_UNIX and connection.laddr)}
    return found


def test_processes_of_this_computer_listen_nowhere(tmp_path: Path) -> None:
    """Whoever is on this computer can hand no work to a sweep that runs as somebody else."""
    names: list[str] = []
    # Of other tests' schedulers in this process.
    before = _listening([psutil.Process()])
    found: set[str] = set()

    def done(task: Task, result: dict[str, Any]) -> None:
        assert "at most 50 MHz" in result["failed"]
        names.append(task.name)
        family = [psutil.Process(), *psutil.Process().children(recursive=True)]
        assert len(family) > 1
        found.update(_listening(family))

    store = Store(tmp_path)
    run_tasks(_impossible(), store, done, workers=2)
    assert len(names) == 2 * len(IMPOSSIBLE_HZ)
    assert found <= before
    # Nothing is left to do, and nothing is started for it.
    run_tasks(_impossible(), store, done, workers=2)
    assert len(names) == 2 * len(IMPOSSIBLE_HZ)


def test_interrupted_processes_end(tmp_path: Path) -> None:
    def stop(task: Task, _: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_tasks(_impossible(), Store(tmp_path), stop, workers=2)
    assert multiprocessing.active_children() == []


def test_model_that_does_not_fit_is_a_result(address: str, ran: list[Task],
                                             tmp_path: Path) -> None:
    which = sweep(model={**sweep().model, "d_model": (240,)}, clock_hz=(24e6,))
    store = Store(tmp_path)
    run_tasks(tasks_of(which, activity=True), store, lambda *_: None, address=address)
    assert not any(task.kind == "activity" for task in ran)
    outcomes, _ = evaluate(which, store)
    assert all(o.failed and o.failed.startswith("the model does not fit: ") for o in outcomes)
    assert pareto(outcomes) == []


def test_chip_that_does_not_run_is_a_result(address: str, ran: list[Task],
                                            tmp_path: Path) -> None:
    which = sweep(clock_hz=(24e6,), sequences=(1,), device={})
    store = Store(tmp_path)
    run_tasks(tasks_of(which, activity=True), store, lambda *_: None, address=address)
    [activity] = [task for task in ran if task.kind == "activity"]
    store.put(activity, {"failed": "the run ended early"})
    [outcome] = evaluate(which, store)[0]
    assert outcome.failed == "its simulation fails: the run ended early"
    assert outcome.logic is not None


def test_reason_is_the_tools_own() -> None:
    assert reason("failed while placing\n  Info: x\n  ERROR: Unable to place cell 'a'\n") == (
        "Unable to place cell 'a'")
    assert reason("nothing special") == "nothing special"


def test_clock_that_cannot_be_made_is_a_result() -> None:
    task = Task(kind="placement", seed=1, design=SweepDesign(board="icebreaker", clock_hz=60e6))
    assert "at most 50 MHz" in task.run()["failed"]


def test_command_writes_table_and_plot(address: str, ran: list[Task], tmp_path: Path,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    sizes = [f"{name}={value}" for name, value in MODEL.to_dict().items()]
    explore_command(clock="24e6,48e6", device=["sequences=1,2"], model=sizes, sequences="1,2",
                    seeds="1-2", out=tmp_path, cluster=address)
    assert {path.name for path in tmp_path.iterdir()} == {
        "results.jsonl", "points.json", "points.csv", "pareto.png"}
    points = json.loads((tmp_path / "points.json").read_text())
    assert len(points) == 6
    printed = capsys.readouterr().out
    assert "misses 48 MHz" in printed
    assert "2 of 2 seeds meet the clock" in printed


@pytest.mark.parametrize(("arguments", "message"), [
    ({"device": ["sequences"]}, "NAME=N,N is wanted"),
    ({"clock": "fast"}, "numbers with commas"),
    ({"seeds": "1-b"}, "numbers with commas"),
    ({"cluster": "tcp://127.0.0.1:1"}, "runs whatever anybody sends it.*give tls://HOST:PORT"),
    ({"cluster": "127.0.0.1:8786"}, "runs whatever anybody sends it.*give tls://HOST:PORT"),
    ({"cluster": "tls://127.0.0.1:1"}, "no scheduler answers at tls://127.0.0.1:1"),
])
def test_command_refuses(arguments: dict[str, Any], message: str, tmp_path: Path,
                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trilight.sw.workers.CONNECT_S", 1)
    with pytest.raises((ExploreError, ClusterError), match=message):
        command.explore_command(**{"out": tmp_path, **arguments})
