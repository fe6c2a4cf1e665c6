"""The ternary engine: matrix-vector products by look-up and addition."""
