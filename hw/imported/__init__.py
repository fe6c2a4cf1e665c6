"""Blocks of the vector unit of imported models; ``docs/imported-formats.md`` is their contract.

Each is tested alone; they are not yet joined to a chip.
"""
