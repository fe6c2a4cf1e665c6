"""Estimates for a MatMul-free model on any set of boards: fit, speed, bound, energy."""
