"""Search for the smallest model that does a task, and for the board that holds it.

Short trainings of a few sizes give a scaling curve (``curve``); the curve predicts the quality of
every shape that a board holds, and the models of cycles and power its costs (``candidates``); what
is chosen is trained and measured (``search``). See ``docs/design.md``.
"""
