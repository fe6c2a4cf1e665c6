"""Contract of gateware and host: numbers, shapes, devices, trit codes, protocol, errors.

Nothing here needs Amaranth, so that the host can import it.
"""
