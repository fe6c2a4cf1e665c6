"""Coverage-guided fuzzing of every parser of foreign bytes; ``docs/verification.md`` explains it.

``python -m fuzz`` with this folder's parent on the path, or ``make fuzz``.
"""
