"""Released builds: figures, and bitstreams and simulated chips, bundled.

``trilight build BOARD --release`` writes them. Figures let a report state clock, area and energy
without placing and routing anything; they belong to a design, by its digest: a report uses them for
that design only. A bitstream belongs to its figures by its own digest, and is written into a board
without any tool of the vendor's.
"""

import hashlib
import json
import lzma
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from trilight.hw.contract.errors import BuildError

__all__ = ["all_figures", "bitstream_path", "icebreaker", "icebreaker_module", "load_bitstream",
           "load_release", "module_path", "pack_bitstream", "release_path"]


def release_path(board: str) -> Path:
    """Return the path of a board's figures."""
    return Path(str(files(__name__) / f"{board}.json"))


def load_release(board: str) -> dict[str, Any] | None:
    """Return the figures of a board's released build; ``None`` if nothing is released for it."""
    path = release_path(board)
    if not path.is_file():
        return None
    figures: dict[str, Any] = json.loads(path.read_text())
    return figures


def all_figures() -> dict[str, dict[str, Any]]:
    """Return the figures of every released build, by board."""
    def found() -> Iterator[tuple[str, dict[str, Any]]]:
        for path in sorted(Path(str(files(__name__))).glob("*.json")):
            if (figures := load_release(path.stem)) is not None:
                yield path.stem, figures

    return dict(found())


def bitstream_path(board: str) -> Path:
    """Return the path of a board's released bitstream, compressed."""
    return Path(str(files(__name__) / f"{board}.bitstream.xz"))


def pack_bitstream(data: bytes) -> bytes:
    """Return a bitstream as it is kept, which is the same for the same bits."""
    return lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)


def load_bitstream(board: str) -> bytes | None:
    """Return a board's released bitstream; ``None`` if none is bundled.

    Raises
    ------
    BuildError
        The file is not the one that its figures name.
    """
    path, figures = bitstream_path(board), load_release(board)
    if figures is None or not path.is_file():
        return None
    try:
        data = lzma.decompress(path.read_bytes())
    except lzma.LZMAError:
        data = b""
    if hashlib.sha256(data).hexdigest() != figures["bitstream_sha256"]:
        raise BuildError(f"{path} is not the bitstream that {release_path(board).name} names; "
                         f"reinstall trilight, or make it again: trilight build {board} --release")
    return data


def module_path(board: str) -> Path:
    """Return the path of a board's simulated chip: its netlist as WebAssembly, compressed."""
    return Path(str(files(__name__) / f"{board}.wasm.gz"))


def icebreaker_module() -> Path:
    """Return where the iCEBreaker's simulated chip lies."""
    return module_path("icebreaker")


def icebreaker() -> dict[str, Any]:
    """Return the figures of the iCEBreaker's build."""
    figures = load_release("icebreaker")
    assert figures is not None, "its figures are bundled"
    return figures
