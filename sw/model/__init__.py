"""Models: values, files, and their compiled images."""
