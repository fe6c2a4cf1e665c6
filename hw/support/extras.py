"""How to install what is missing."""

import sys

__all__ = ["INSTALL_PROGRAMMER", "pip_install"]

INSTALL_PROGRAMMER = ("sudo apt-get install openfpgaloader (Debian, Ubuntu), brew install "
                      "openfpgaloader (macOS) or pacman -S "
                      "mingw-w64-ucrt-x86_64-openFPGALoader (MSYS2 on Windows)")
"""For a program that writes a board's flash memory."""


def pip_install(requirement: str, *options: str) -> str:
    """Return the command that installs a package for the interpreter that runs.

    Another ``pip`` may be first on the path, and belong to another interpreter.
    """
    return " ".join((f'"{sys.executable}" -m pip install', *options, f'"{requirement}"'))
