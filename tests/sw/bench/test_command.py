"""``trilight bench`` and ``trilight field``, in process, on the emulated device."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from trilight.sw.bench import benchmark
from trilight.sw.bench.benchmark import Settings, run_benchmark
from trilight.sw.bench.document import Protocol, load_schema
from trilight.sw.bench.field import load_field
from trilight.sw.bench.workload import Workload
from trilight.sw.cli import app as cli
from trilight.sw.cli import bench as command
from trilight.sw.errors import BenchError
from trilight.sw.model.model import Model

PROMPTS = "12\n#$%&\n"


@pytest.fixture(scope="module")
def options(model: Model, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A small model and prompts that suit it."""
    folder = tmp_path_factory.mktemp("bench")
    model.save(folder / "model.safetensors")
    (folder / "prompts.txt").write_text(PROMPTS, encoding="utf-8")
    return ["--model", str(folder / "model.safetensors"), "--prompts",
            str(folder / "prompts.txt"), "--target", "reference", "--tokens", "12"]


def bench(options: list[str], *more: str) -> int:
    return cli.main(["bench", *options, *more])


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    Draft202012Validator(load_schema()).validate(document)
    return document


def test_bench(options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    json_file, html_file = tmp_path / "bench.json", tmp_path / "bench.html"
    assert bench(options, "--json", str(json_file), "--html", str(html_file),
                 "--baselines", "numpy,numba", "--host-watts", "7",
                 "--host-watts-source", "data sheet", "--carbon", "200",
                 "--carbon-source", "the grid's operator") == 0
    document = read(json_file)
    assert [system["name"] for system in document["systems"]] == ["reference", "numpy", "numba"]
    assert all(system["tokens"]["same_as_reference"] for system in document["systems"])
    assert document["workload"]["prompts"] == PROMPTS.split()
    assert document["workload"]["n_generated_tokens"] == 24
    assert document["carbon"] == {"g_per_kwh": 200, "source": "the grid's operator"}
    for system in document["systems"][1:]:
        assert system["provenance"] == "modelled"
        assert system["figures"]["gco2e_per_1000_queries"]["value"] > 0
    assert html_file.read_text(encoding="utf-8").startswith("<!doctype html>")
    out, err = capsys.readouterr()
    flat = " ".join(out.replace("│", " ").split())
    assert "2.125 bits per byte" in flat
    assert "Warning: numpy: no meter: energy rests on 7 W assumed (data sheet)" in flat
    # No release was counted with this model.
    assert "tokens per joule not known" in flat
    assert err == ""


def test_the_same_workload_gives_the_same_tokens(options: list[str], tmp_path: Path) -> None:
    first, second = tmp_path / "1.json", tmp_path / "2.json"
    for path in (first, second):
        assert bench(options, "--json", str(path), "-q") == 0
    one, two = read(first), read(second)
    assert one["workload"] == two["workload"]
    assert one["run_id"] != two["run_id"]


def test_a_meter(options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The meter of the tests makes its readings up, which is said."""
    path = tmp_path / "bench.json"
    assert bench(options, "--meter", "fake:core", "--windows", "3", "--seconds", "0.2",
                 "--idle-seconds", "0.2", "--json", str(path)) == 0
    document = read(path)
    [system] = document["systems"]
    assert system["provenance"] == "assumed"
    assert system["figures"]["joules_per_token"]["u_k2"] > 0
    assert system["figures"]["joules_per_token_above_idle"]["value"] < (
        system["figures"]["joules_per_token"]["value"])
    assert document["protocol"] == {"warmup_s": 2.0, "windows": 3, "window_s": 0.2, "idle_s": 0.2,
                                    "statistic": "median", "used": True}
    flat = " ".join(capsys.readouterr().out.split())
    assert "computes on this computer: its joules are not those of a chip" in flat
    assert "shorter than 10 s" in flat


@pytest.mark.parametrize(("more", "text"), [
    (["--json", "no-such-folder/x.json"], "there is no folder"),
    (["--html", "no-such-folder/x.html"], "there is no folder"),
    (["--clock", "0"], "a positive number of hertz, at most 1e+09, not 0"),
    (["--carbon", "300"], "--carbon and --carbon-source belong together"),
    (["--carbon", "300", "--carbon-source", " "], "--carbon and --carbon-source belong together"),
    (["--host-watts-source", "x"], "--host-watts and --host-watts-source belong together"),
    (["--host-watts", "-1", "--host-watts-source", "x"], "--host-watts must be positive, not -1"),
    (["--baselines", "numpy,abacus"], "no baseline 'abacus'"),
    (["--meter", "abacus"], "no meter 'abacus'"),
    (["--prompts", "no-such-file"], "prompts no-such-file cannot be read"),
    (["--target", "abacus"], "no target 'abacus'"),
])
def test_mistakes_are_one_message(more: list[str], text: str, options: list[str],
                                  capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(options, *more) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Error: ")
    assert text in err


def test_a_page_without_its_package(options: list[str], tmp_path: Path,
                                    monkeypatch: pytest.MonkeyPatch,
                                    capsys: pytest.CaptureFixture[str]) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(command, "import_module", missing)
    assert bench(options, "--html", str(tmp_path / "x.html")) == 2
    assert "--html needs a package" in capsys.readouterr().err


@contextmanager
def quietly(_what: str) -> Iterator[Any]:
    yield lambda _done, _total: None


def run(model: Model, workload: Workload, settings: Settings) -> dict[str, Any]:
    return run_benchmark(model, workload, settings, say=lambda _text: None, watch=quietly)


def test_nothing_runs_if_a_baseline_is_missing(model: Model, workload: Workload,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: object, **__: object) -> None:
        raise AssertionError("a target was opened")

    monkeypatch.setattr(benchmark, "open_board", opened)
    with pytest.raises(BenchError, match="no baseline"):
        run(model, workload, Settings(baselines=("abacus",)))
    with pytest.raises(BenchError, match="vocabulary lacks"):
        run(model, replace(workload, prompts=("\u2020",)), Settings())


def test_baselines_are_metered_where_there_is_a_counter(
        model: Model, workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    real = benchmark.open_meter
    monkeypatch.setattr(benchmark, "open_meter",
                        lambda spec: real({"rapl": "fake:board,boundary=host"}.get(spec, spec)))
    document = run(model, workload, Settings(
        baselines=("numpy",), protocol=Protocol(windows=3, window_s=0.2, idle_s=0.2)))
    baseline = document["systems"][1]
    assert baseline["boundary"]["name"] == "host"
    assert baseline["measurement"]["meter"]["type"] == "fake"
    assert baseline["figures"]["joules_per_token"]["u_k2"] > 0


def test_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "field.json"
    assert cli.main(["field", "--json", str(path)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "figures under different boundaries do not compare" in out
    written = json.loads(path.read_text(encoding="utf-8"))
    assert [row["name"] for row in written["field"]] == [rival.name for rival in load_field()]
    for rival in load_field():
        assert rival.name.split()[0] in out


def test_field_beside_a_report(documents: dict[str, Any], tmp_path: Path,
                               capsys: pytest.CaptureFixture[str]) -> None:
    report, out_file = tmp_path / "bench.json", tmp_path / "field.json"
    report.write_text(json.dumps(documents["measured"]), encoding="utf-8")
    assert cli.main(["field", "--report", str(report), "--json", str(out_file)]) == 0
    ours = json.loads(out_file.read_text(encoding="utf-8"))["ours"]
    assert ours["status"] == "measured"
    assert ours["tokens_per_joule"] == pytest.approx([1 / 4e-6 - 5e-7 / 4e-6**2,
                                                      1 / 4e-6 + 5e-7 / 4e-6**2])
    weights = documents["measured"]["model"]["ternary_weights_per_token"]
    assert ours["giga_ternary_macs_per_joule"] == pytest.approx(
        [end * weights / 1e9 for end in ours["tokens_per_joule"]])
    assert "Trilight" in capsys.readouterr().out


@pytest.mark.parametrize(("content", "text"), [
    (None, "cannot be read"), ("{", "is none of trilight bench"),
    ('{"schema": "trilight/report/v1"}', "has schema 'trilight/report/v1'")])
def test_field_beside_what_is_no_report(content: str | None, text: str, tmp_path: Path,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bench.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    assert cli.main(["field", "--report", str(path)]) == 2
    assert text in capsys.readouterr().err
