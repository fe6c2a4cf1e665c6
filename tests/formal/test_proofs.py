"""The proofs hold, and each is refuted by the fault that it names; docs/proofs.md lists them."""

import pytest

from trilight.sim.formal.proofs import PROOFS
from trilight.sim.formal.prover import Proof, prove
from trilight.sim.formal.variant import Edit, Gateware
from trilight.sw.errors import SimulationError

# Each takes seconds of a free processor, most of which goes into starting Yosys.
pytestmark = pytest.mark.timeout(900)

CASES = [pytest.param(proof, id=proof.name) for proof in PROOFS if not proof.undecided]


@pytest.mark.parametrize("proof", CASES)
def test_holds(proof: Proof) -> None:
    verdict = prove(proof)
    assert verdict.holds, verdict.log


@pytest.mark.parametrize("proof", CASES)
def test_fault_refutes(proof: Proof) -> None:
    verdict = prove(proof, broken=True)
    assert verdict.holds is False, verdict.log


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: proof.name)
def test_fits_the_gateware(proof: Proof) -> None:
    """Harness, sizes and fault of a proof, decided or not, follow the gateware."""
    for edits in (proof.sizes, [*proof.sizes, proof.fault]):
        assert "$check" in proof.build(Gateware(edits)).rtlil()


def test_an_edit_must_fit() -> None:
    with pytest.raises(SimulationError, match=r"hw/uart\.py must have 'no such text' once, not 0"):
        Gateware([Edit("uart.py", "no such text", "")]).module("uart")
    with pytest.raises(SimulationError, match=r"there is no hw/none\.py"):
        Gateware([Edit("none.py", "", "")]).module("uart")
