"""Costs of using a model over a day or a year: energy, money, carbon, beside another way."""
