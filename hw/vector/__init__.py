"""The vector unit: what happens to a row sum on its way to the next matrix."""
