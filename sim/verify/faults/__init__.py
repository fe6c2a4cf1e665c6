"""Faults, injected and counted: on the link, in memory, in power. See ``docs/faults.md``."""
