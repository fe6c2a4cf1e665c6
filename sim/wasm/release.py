"""The module of a board's release, and whether the design is still the one it was made from.

Telling so takes no Amaranth: the module says which Python sources the design was elaborated from,
and their digest. Where Amaranth is installed, and only the sources are others, the design itself is
compared.
"""

import gzip
import hashlib
import subprocess
import sys
import zlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trilight.hw.flow.build import Netlist, design_sha256, find_board
from trilight.hw.support.sources import sources_sha256
from trilight.hw.support.tools import Progress, no_progress
from trilight.sw.errors import SimulationError
from trilight.sw.report.releases import load_releases

from .library import build_info_of

__all__ = ["MODULES", "has_same_sources", "is_current", "is_released", "load_module",
           "release_module", "released_module"]

MODULES = "trilight.modules"
"""Entry points group: each is a function that returns the path of a board's released module."""

# Of what an elaboration imports, all that can have a say in the design: neither what keeps and
# calls (hw.support) nor what is done with the design afterwards (hw.flow).
_LIST_SOURCES = """
import sys
from importlib import resources
from trilight.hw.flow.build import design_sha256, find_board
design_sha256(find_board(sys.argv[1]))
for package in ("trilight.hw", "trilight.boards"):
    folder = str(resources.files(package))
    for name, module in list(sys.modules.items()):
        if name.startswith(package) and not name.startswith(("trilight.hw.support",
                                                             "trilight.hw.flow")):
            path = module.__file__[len(folder) + 1:].replace(chr(92), "/")
            print(f"{package}/{path}")
"""


def release_module(netlist: Netlist, progress: Progress = no_progress) -> bytes:
    """Compile the module of a release, compressed as its file is.

    Raises
    ------
    BuildError, SimulationError
        The netlist can not be compiled.
    """
    from .compile import compile_module

    sources = subprocess.run([sys.executable, "-c", _LIST_SOURCES, netlist.board.name], check=True,
                             capture_output=True, text=True).stdout.split()
    code = compile_module(netlist, progress, {
        "sources": sorted(sources), "sources_sha256": sources_sha256(sources)})
    return gzip.compress(code, mtime=0)


def load_module(board: str) -> bytes | None:
    """Return the module that came with a board; ``None`` if none did.

    Raises
    ------
    SimulationError
        The file is damaged.
    """
    points = entry_points(group=MODULES, name=board)
    if not points:
        return None
    path: Path = next(iter(points)).load()()
    try:
        return gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, EOFError, zlib.error) as error:
        raise SimulationError(f"{path} is damaged: {error}; install this release again") from error


def is_released(code: bytes, board: str) -> bool:
    """Tell if a module is the one whose digest the figures of the board's release state."""
    release = load_releases().get(board)
    return (release is not None
            and hashlib.sha256(code).hexdigest() == release.get("module_sha256"))


def has_same_sources(build_info: Mapping[str, Any]) -> bool:
    """Tell if the sources that a module's design was made from are those which are installed."""
    try:
        return bool(sources_sha256(build_info["sources"]) == build_info["sources_sha256"])
    except (OSError, SyntaxError):
        # A source has gone, or is being worked on.
        return False


def is_current(build_info: Mapping[str, Any]) -> bool:
    """Tell if a module's design is that of the sources which are installed."""
    if has_same_sources(build_info):
        return True
    if find_spec("amaranth") is None or find_spec("amaranth_boards") is None:
        return False
    return bool(design_sha256(find_board(build_info["board"])) == build_info["design_sha256"])


def released_module(board: str) -> bytes | None:
    """Return the module of a board's release, if the design is still the released one."""
    code = load_module(board)
    if code and is_released(code, board) and is_current(build_info_of(code)):
        return code
    return None
