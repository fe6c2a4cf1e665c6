"""The virtual board: the design compiled to native code and driven through its pins."""
