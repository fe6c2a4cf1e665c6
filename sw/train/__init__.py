"""Quantisation-aware training of a MatMul-free ternary language model (needs PyTorch)."""
