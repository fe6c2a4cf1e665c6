"""Campaigns that try to refute the gateware: soak, proofs, faults, mutation."""
