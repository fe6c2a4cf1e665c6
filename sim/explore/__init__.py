"""Exploring designs: what area, speed and energy come of which sizes, clocks and placements."""
