"""Imported models on the engine's RTL: every row of a layer or a token against the reference."""
