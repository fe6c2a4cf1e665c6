"""Checkpoints of the original MatMul-free language model, and what runs them in integers.

``docs/imported-formats.md`` is the contract: what a checkpoint's numbers become, and every bit of
what is computed from them.
"""
