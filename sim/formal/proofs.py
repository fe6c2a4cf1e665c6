"""All proofs of the gateware."""

from . import control, framing, numerics
from .prover import Proof

__all__ = ["PROOFS"]

PROOFS: list[Proof] = [*framing.PROOFS, *control.PROOFS, *numerics.PROOFS]
