"""Gateware of Trilight, and the sizes and protocol that the host shares with it.

``contract`` and ``support`` need no Amaranth, so that the host can import them.
"""
