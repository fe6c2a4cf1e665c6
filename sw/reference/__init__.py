"""The integer reference: the contract of ``docs/number-formats.md`` in NumPy."""
