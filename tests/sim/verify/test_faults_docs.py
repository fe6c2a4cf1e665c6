"""The tables of docs/faults.md are those of faults.json and loss.json in docs/results/."""

import json
from pathlib import Path
from typing import Any

import pytest

from trilight.sim.verify.faults.loss import KINDS as LOSS_KINDS
from trilight.sim.verify.faults.plan import KINDS
from trilight.sim.verify.faults.session import OUTCOMES
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "faults.md").read_text(encoding="utf-8")
CAMPAIGNS: dict[str, dict[str, Any]] = json.loads(
    (DOCS / "results" / "faults.json").read_text(encoding="utf-8"))

LOSS: dict[str, Any] = json.loads((DOCS / "results" / "loss.json").read_text(encoding="utf-8"))

GOOD = ("unnoticed", "recovered", "refused")
BAD = ("lost", "silent", "hung", "crashed")
OF_MEMORY = ("weights", "memories")


def of_line() -> list[tuple[str, dict[str, Any]]]:
    return [(name, campaign) for name, campaign in CAMPAIGNS.items()
            if campaign["target"] not in OF_MEMORY]


def test_every_outcome_is_on_the_page_or_none() -> None:
    assert {*GOOD, *BAD, "wrong"} == set(OUTCOMES)
    assert all(campaign["outcomes"]["wrong"] == 0 for _, campaign in of_line())


@pytest.mark.parametrize(("name", "campaign"), of_line())
def test_nothing_went_as_it_must_not(name: str, campaign: dict[str, Any]) -> None:
    assert campaign["bad"] == []
    assert not any(campaign["outcomes"][outcome] for outcome in BAD)
    assert set(campaign["kinds"]) == {
        name for name, kind in KINDS.items() if kind.apart == (campaign["target"] == "hanging")
        and (campaign["target"] in ("rtl", "netlist") or not kind.pins)}


@pytest.mark.parametrize("kind", CAMPAIGNS["device"]["kinds"])
def test_each_kind_has_its_line(kind: str) -> None:
    row = CAMPAIGNS["device"]["kinds"][kind]
    counts = [row["injected"], row["requests"],
              *(row["outcomes"][outcome] for outcome in (*GOOD, *BAD))]
    seconds = row["seconds"] or {"median": 0, "max": 0}
    assert (f"| {kind}: {KINDS[kind].meaning} | {' | '.join(f'{count:,}' for count in counts)} | "
            f"{seconds['median']:.2f} | {seconds['max']:.2f} |") in PAGE


@pytest.mark.parametrize(("name", "campaign"), of_line())
def test_each_campaign_has_its_line(name: str, campaign: dict[str, Any]) -> None:
    counts = [campaign["sessions"], campaign["injected"], campaign["requests"],
              *(campaign["outcomes"][outcome] for outcome in GOOD),
              sum(campaign["outcomes"][outcome] for outcome in BAD)]
    assert (f"| {campaign['target']} | {campaign['seed']} | "
            f"{' | '.join(f'{count:,}' for count in counts)} |") in PAGE


def test_faults_of_the_readme() -> None:
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert f"{CAMPAIGNS['device']['injected']:,} faults on the emulated device" in readme


@pytest.mark.parametrize(("name", "what"), [
    ("weights", "weights in use"), ("memories", "all but the weights")])
def test_memories_have_their_lines(name: str, what: str) -> None:
    campaign = CAMPAIGNS[name]
    outcomes = campaign["outcomes"]
    counts = [campaign["injected"], *(outcomes[outcome] for outcome in (*GOOD, "wrong")),
              sum(outcomes[outcome] for outcome in BAD)]
    assert f"| {what} | {' | '.join(f'{count:,}' for count in counts)} |" in PAGE


@pytest.mark.parametrize("kind", LOSS["kinds"])
def test_each_kind_of_bit_has_its_loss(kind: str) -> None:
    row = LOSS["kinds"][kind]
    assert (f"| {kind} | {row['flips']:.0f} | {row['mean']:+.4f} | {row['median']:+.4f} | "
            f"{row['p90']:+.4f} | {row['max']:+.3f} | {row['above_0.01']:.0%} |") in PAGE


def test_losses_are_of_the_model_that_comes_along() -> None:
    assert set(LOSS["kinds"]) == set(LOSS_KINDS)
    assert LOSS["model_sha256"] == Model.load(default_model_path()).sha256
    assert f"({LOSS['nats_per_char']:.3f} nats per character without a fault)" in PAGE
    assert LOSS["command"] in " ".join(PAGE.split())
