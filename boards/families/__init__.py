"""Families of FPGAs: what boards with the same part share."""
