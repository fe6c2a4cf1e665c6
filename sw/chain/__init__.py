"""Several boards that share an imported model: each has some of its layers.

The residual stream goes from board to board in frames; embedding, sampling and the lead are the
host's. Boards are processes here (``board.py``), which ``host.py`` starts, watches and restarts.
"""
