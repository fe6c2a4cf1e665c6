"""Host side of Trilight: reference numerics, model files, driver, energy model, command line.

``trilight`` itself offers what a script begins with: ``open_board``, ``report``, ``Board``,
``Model``.
"""
