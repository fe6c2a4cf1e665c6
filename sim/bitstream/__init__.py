"""A netlist from a bitstream: what the bits of the file configure, whatever made them.

``image`` reads the file, ``chip`` the database of the part, ``recover`` finds cells and nets,
``verilog`` writes them; ``target`` offers the result as the target ``bitstream``.
"""
