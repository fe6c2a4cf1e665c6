"""Imported models on the core's RTL: every value of a layer or a token against the reference."""
