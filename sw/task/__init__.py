"""Tasks that a small model does beside text: lines that are told apart."""
