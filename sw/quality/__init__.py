"""Quality of a model on a text."""
