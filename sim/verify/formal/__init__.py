"""Formal proofs of the gateware's blocks: harnesses, what they claim, and the way to the solver."""
