"""What using a model costs over a day or a year: energy, money, carbon, beside another way."""
