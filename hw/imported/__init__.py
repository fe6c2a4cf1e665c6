"""The vector unit of imported models, and the core that joins it to the engine.

``docs/imported-formats.md`` is their contract.
"""
