"""The weight memory, and the check of what it holds."""
