"""Cache of built files, tools as programs, what a terminal shows, how to install what is missing.

None of it needs Amaranth.
"""
