"""The workflow runs what there is: every bench and every fuzzed parser."""

from pathlib import Path

import pytest
from fuzz.targets import TARGETS

from trilight.hw.support.boards import board_names, load_board
from trilight.sim.bench import coverage

yaml = pytest.importorskip("yaml", reason="PyYAML comes with distributed")

ROOT = Path(__file__).resolve().parent.parent
RELEASE = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]
JOBS = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]


def test_every_parser_is_fuzzed() -> None:
    assert sorted(JOBS["fuzz"]["strategy"]["matrix"]["parser"]) == sorted(TARGETS)


def test_every_bench_is_in_the_matrix() -> None:
    groups = JOBS["benches"]["strategy"]["matrix"]["benches"]
    named = [name for group in groups for name in group.split(" or ")]
    assert sorted(named) == sorted({point.split(".")[0] for point in coverage.POINTS})


def test_the_release_has_the_bitstream_of_every_board() -> None:
    """Those that the package does not carry are made by the workflow."""
    made = RELEASE["bitstreams"]["strategy"]["matrix"]["board"]
    assert sorted(made) == [name for name in board_names() if not load_board(name).ready_made]


def test_waveforms_are_of_failures_only() -> None:
    for job in JOBS.values():
        for step in job["steps"]:
            if "waves" in str(step.get("with", {}).get("path", "")):
                assert step["if"] == "failure()"
