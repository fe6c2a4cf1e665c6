"""The proofs hold, and each is refuted by the fault that it names; docs/proofs.md lists them."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from trilight.sim.verify.formal import command
from trilight.sim.verify.formal.proofs import PROOFS
from trilight.sim.verify.formal.prover import Proof, ProofVerdict, prove
from trilight.sim.verify.formal.results import leave_topic, markdown_rows, row, stands
from trilight.sim.verify.formal.variant import Edit, Gateware
from trilight.sw.errors import SimulationError
from trilight.sw.report.summary import FOLDER, read_sections

# Each takes seconds of a free processor, most of which goes into starting Yosys.
pytestmark = pytest.mark.timeout(900)

CASES = [pytest.param(proof, id=proof.name) for proof in PROOFS]


@pytest.fixture(scope="module")
def results() -> list[dict[str, Any]]:
    """Those of the proofs that have run, in their order."""
    return []


@pytest.mark.parametrize("proof", CASES)
def test_holds_and_its_fault_refutes_it(proof: Proof, results: list[dict[str, Any]]) -> None:
    verdict, fault = prove(proof), prove(proof, broken=True)
    results.append(row(proof, verdict, fault))
    assert verdict.holds, verdict.log
    assert fault.holds is False, fault.log


def test_a_topic_is_left(results: list[dict[str, Any]], root: Path) -> None:
    if not results:
        pytest.skip("no proof has run before")
    leave_topic(results, folder=root / FOLDER)
    section = read_sections(root / FOLDER)["formal"]
    assert section.rows[0][1:] == (sum(map(stands, results)), f"of {len(results)}")


def test_an_induction_that_fails_is_no_verdict() -> None:
    """Without its lemmas it ends in a state that cannot be reached: no proof, nor a refutation."""
    proof = next(proof for proof in PROOFS if proof.name == "sampler.takes_largest")

    def without_lemmas(gateware: Gateware) -> Any:
        harness = proof.build(gateware)
        return SimpleNamespace(rtlil=lambda **_: harness.rtlil(lemmas=False))

    assert prove(replace(proof, build=without_lemmas)).holds is None


def test_results_are_of_these_proofs(root: Path) -> None:
    """``make formal ARGS="--json docs/results/proofs.json"`` writes them again."""
    kept = json.loads((root / "docs/results/proofs.json").read_text())["proofs"]
    verdict, fault = ProofVerdict(True, 0.0, ""), ProofVerdict(False, 0.0, "")
    times = {"seconds": 0.0, "seconds_with_fault": 0.0}
    assert [{**result, **times} for result in kept] == [
        row(proof, verdict, fault) for proof in PROOFS]


def test_docs_have_the_results(root: Path) -> None:
    text = (root / "docs/proofs.md").read_text()
    kept = json.loads((root / "docs/results/proofs.json").read_text())["proofs"]
    missing = [line for line in markdown_rows(kept) if line not in text]
    assert not missing, "docs/proofs.md lacks these lines of its table:\n" + "\n".join(missing)
    named = set(re.findall(r"`(\w+\.\w+)`", text[:text.index("## Properties")]))
    blocks = {proof.name.split(".")[0] for proof in PROOFS}
    assert {name for name in named if name.split(".")[0] in blocks} == {
        proof.name for proof in PROOFS}


def test_the_command_fails_unless_all_stands(monkeypatch: pytest.MonkeyPatch,
                                             tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    verdicts = {False: ProofVerdict(True, 1.0, ""), True: ProofVerdict(False, 1.0, "")}
    monkeypatch.setattr(command, "prove", lambda proof, *, broken=False: verdicts[broken])
    assert _call("link", "--json", "out.json") == 0
    names = [result["name"] for result in json.loads(Path("out.json").read_text())["proofs"]]
    assert names == [proof.name for proof in PROOFS if proof.name.startswith("link")]
    assert not FOLDER.exists()  # not all of them
    assert _call() == 0
    assert read_sections()["formal"].rows[0][1] == len(PROOFS)
    for broken, holds in ((False, None), (False, False), (True, True), (True, None)):
        with monkeypatch.context() as context:
            context.setitem(verdicts, broken, ProofVerdict(holds, 1.0, ""))
            assert _call("link") == 1
    assert _call("nothing") == 2


@pytest.mark.parametrize(("error", "code", "told"), [
    (SimulationError("a tool failed [badly]"), 1, "a tool failed [badly]"),
    (KeyboardInterrupt(), 130, "stopped; the same command goes on")])
def test_the_command_tells_why_it_ended(error: BaseException, code: int, told: str,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(proof: Proof, *, broken: bool = False) -> ProofVerdict:
        raise error

    monkeypatch.setattr(command, "prove", fail)
    result = _invoke("link")
    assert result.exit_code == code
    assert told in result.output


def _call(*arguments: str) -> int:
    return _invoke(*arguments).exit_code


def _invoke(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(command.formal_command)
    return CliRunner().invoke(app, list(arguments))


def test_an_edit_must_fit() -> None:
    with pytest.raises(SimulationError, match=r"hw/lib/uart\.py must have 'no such text' once"):
        Gateware([Edit("lib/uart.py", "no such text", "")]).module("lib.uart")
    with pytest.raises(SimulationError, match=r"there is no hw/none\.py"):
        Gateware([Edit("none.py", "", "")]).module("lib.uart")
