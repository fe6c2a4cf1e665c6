"""What docs/results/ keeps of campaigns is of the released design, and what the pages say of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trilight.boards.releases import icebreaker

DOCS = Path(__file__).resolve().parent.parent / "docs"
RESULTS = {path.name: json.loads(path.read_text(encoding="utf-8"))
           for path in sorted((DOCS / "results").glob("*.json"))}


def designs(results: Any) -> Iterator[str]:
    """Every ``design_sha256`` at any depth."""
    if isinstance(results, dict):
        if "design_sha256" in results:
            yield results["design_sha256"]
        results = list(results.values())
    if isinstance(results, list):
        for part in results:
            yield from designs(part)


@pytest.mark.parametrize("name", [name for name, found in RESULTS.items() if list(designs(found))])
def test_results_are_of_the_released_design(name: str) -> None:
    assert set(designs(RESULTS[name])) == {icebreaker()["design_sha256"]}, (
        f"docs/results/{name} is of another design than the release; repeat its commands")


def test_tokens_of_the_soak() -> None:
    soak = RESULTS["soak.json"]
    rtl, netlist = soak["rtl"], soak["netlist"]
    assert rtl["differences"] == netlist["differences"] == 0
    page = (DOCS / "proofs.md").read_text(encoding="utf-8").replace("\n", " ")
    assert (f"{rtl['tokens']:,} tokens of rtl over {rtl['shapes']} shapes and "
            f"{netlist['tokens']:,} of the netlist over {netlist['shapes']}, without a difference"
            ) in page
