"""All proofs of the gateware."""

from . import engine, framing, imported, link, sampler, sequencer, tables, vector
from .prover import Proof

__all__ = ["PROOFS"]

PROOFS: list[Proof] = [proof for module in (
    framing, link, sequencer, engine, tables, vector, sampler, imported) for proof in module.PROOFS]
