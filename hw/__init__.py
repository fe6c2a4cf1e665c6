"""Gateware of Trilight, and the sizes and protocol that the host shares with it.

``config``, ``ternary``, ``protocol``, ``errors`` and the tools of ``flow`` need no Amaranth, so
that the host can import them.
"""
