"""The figures of docs/mutation.md are those of the campaigns in docs/results/."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "mutation.md").read_text(encoding="utf-8")
TEXT = " ".join(PAGE.split())

REST = json.loads((DOCS / "results" / "mutation-rest.json").read_text("utf-8"))
"""A fresh sample, on which no score is promised."""

CAMPAIGNS = {name: json.loads((DOCS / "results" / f"mutation-{name}.json").read_text("utf-8"))
             for name in ("gateware", "host")}

MIN_SCORE = 0.95
"""Of the mutants that change anything."""


def figures(counts: dict[str, Any]) -> str:
    score = "" if counts["score"] is None else f"{counts['score']:.1%}".replace("%", " %")
    return (f"| {counts['tried']:,} | {counts['killed']:,} | {counts['equivalent']:,} | "
            f"{counts['survived']:,} | {score} |")


ROWS = [(name, module, counts) for name, found in CAMPAIGNS.items()
        for module, counts in [*found["modules"].items(), ("all", found["all"])]]


@pytest.mark.parametrize(("name", "module", "counts"), ROWS,
                         ids=[f"{name}-{module}" for name, module, _ in ROWS])
def test_each_module_has_a_line(name: str, module: str, counts: dict[str, Any]) -> None:
    section = PAGE.partition(f"### Figures of the {name}\n")[2].partition("\n#")[0]
    label = module if module == "all" else f"`{module.removeprefix('trilight.')}`"
    assert f"| {label} {figures(counts)}" in section


def test_each_module_of_the_rest_has_a_line() -> None:
    section = PAGE.partition("### Figures of the rest\n")[2].partition("\n#")[0]
    for module, counts in [*REST["modules"].items(), ("all", REST["all"])]:
        label = module if module == "all" else f"`{module}`"
        assert f"| {label} {figures(counts)}" in section
    assert REST["command"] in section
    for verdict in ("tried", "killed", "survived"):
        assert REST["all"][verdict] == sum(part[verdict] for part in REST["modules"].values())
    assert len(REST["not_killed"]) == REST["all"]["survived"]


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_enough_are_killed(name: str) -> None:
    assert CAMPAIGNS[name]["all"]["score"] >= MIN_SCORE


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_figures_add_up(name: str) -> None:
    found = CAMPAIGNS[name]
    counts = found["all"]
    for verdict in ("tried", "killed", "equivalent", "survived"):
        assert sum(part[verdict] for part in found["modules"].values()) == counts[verdict]
    assert counts["tried"] == counts["killed"] + counts["equivalent"] + counts["survived"]
    assert len(found["not_killed"]) == counts["equivalent"] + counts["survived"]


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_page_says_what_was_tried(name: str) -> None:
    found = CAMPAIGNS[name]
    assert found["command"] in PAGE
    assert f"{found['all']['tried']:,} of {found['chosen']:,}" in TEXT


def test_the_readme_has_the_share() -> None:
    counts, host = CAMPAIGNS["gateware"]["all"], CAMPAIGNS["host"]["all"]
    changing = counts["tried"] - counts["equivalent"]
    assert (f"of {changing:,} that change the gateware, {100 * counts['score']:.1f} % are, and of "
            f"{host['tried']:,} of the host, {100 * host['score']:.1f} %"
            in (DOCS.parent / "README.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_every_survivor_has_a_reason(name: str) -> None:
    """The page's table of reasons counts as many as there are."""
    section = PAGE.partition(f"### Survivors of the {name}\n")[2].partition("\n#")[0]
    counted = [int(number) for number in re.findall(r"^\| .* \| (\d+) \|$", section, re.MULTILINE)]
    assert sum(counted) == CAMPAIGNS[name]["all"]["survived"]


def test_every_survivor_of_the_gateware_has_its_line() -> None:
    """With the mutant's place, and under as many reasons as the page before counts."""
    page = (DOCS / "survivors.md").read_text(encoding="utf-8")
    for result in CAMPAIGNS["gateware"]["not_killed"]:
        words = result["mutation"].split()
        place = dict(zip(words[::2], words[1::2], strict=True))
        line = f"| `{place['-module']}`, `{place['-cell']}`: {place['-port']}[{place['-portbit']}] "
        assert (line in page) or result["verdict"] == "equivalent", line
    lines = {heading: section.count("\n| `") for heading, section in re.findall(
        r"^## (.*)\n(.*(?:\n(?!## ).*)*)", page, re.MULTILINE)}
    assert sum(lines.values()) == CAMPAIGNS["gateware"]["all"]["survived"]
    for heading, count in lines.items():
        assert f"| {heading[0].lower()}{heading[1:]} | {count} |" in PAGE
