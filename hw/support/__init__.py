"""Cache of built files, tools as programs, how to install what is missing; no Amaranth."""
