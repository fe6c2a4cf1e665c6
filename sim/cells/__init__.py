"""Simulation models of an FPGA's cells."""
