"""Latencies of the vector unit and the sampler in cycles, from which they are built; no Amaranth.

The performance model reads them too, so neither side types them again.
"""

__all__ = ["CHANNEL_ACT", "DRAW", "GLU_ACT", "LOGIT", "MIX_ACT", "RESIDUAL_ACT", "TOKEN"]

MIX_ACT = 13
"""Stage of the gate row at which ``u`` leaves."""

GLU_ACT = 10
"""Stage of the linear branch's row at which ``v`` leaves."""

RESIDUAL_ACT = 9
"""Stage of a row at which ``q`` leaves."""

CHANNEL_ACT = RESIDUAL_ACT - 3
"""Cycles from a channel of the embedding, which is at stage 3, to its ``q``."""

DRAW = 1
"""Cycles from a head row to its draw."""

LOGIT = 4
"""Cycles from a draw to its logit."""

TOKEN = 2
"""Cycles from the last logit to the token."""
