"""Recipes of ``trilight train``, a file for each; see ``trilight.sw.train.recipe``."""
