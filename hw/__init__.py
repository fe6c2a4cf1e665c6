"""Gateware of Trilight, and the sizes and protocol that the host shares with it.

``config``, ``ternary`` and ``protocol`` need nothing but the standard library, so that
the host can import them without Amaranth.
"""
