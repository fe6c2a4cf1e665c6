"""A netlist compiled so that 64 chips run in it at once, each net a word with a bit of every chip.
"""
