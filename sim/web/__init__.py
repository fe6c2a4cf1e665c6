"""The page in which a released chip runs, in a browser."""
