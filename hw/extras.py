"""How to install what is missing."""

import sys

__all__ = ["pip_install"]


def pip_install(requirement: str, *options: str) -> str:
    """Return the command that installs a package for the interpreter that runs.

    Another ``pip`` may be first on the path, and belong to another interpreter.
    """
    return " ".join((f'"{sys.executable}" -m pip install', *options, f'"{requirement}"'))
