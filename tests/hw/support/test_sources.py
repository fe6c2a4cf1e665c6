"""The digest by which sources are known again: of what they say, not of how it is laid out."""

import random
from pathlib import Path

import pytest

from trilight.hw.support import sources
from trilight.hw.support.sources import sources_sha256

SOURCE = '''"""A module."""

WIDTH = 8
"""Bits."""


class Block:
    """A block."""

    def size(self, more=1):
        """Return it."""
        return WIDTH + more
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sources.resources, "files", lambda package: tmp_path / package)
    path = tmp_path / "trilight.hw" / "lib" / "block.py"
    path.parent.mkdir(parents=True)
    path.write_text(SOURCE)
    return path


def digest() -> str:
    return sources_sha256(["trilight.hw/lib/block.py"])


@pytest.mark.parametrize(("old", "new"), [
    ("A module.", "Another text."),
    ("    \"\"\"A block.\"\"\"\n\n", ""),
    ("WIDTH = 8", "WIDTH = (8)  # why"),
    ("WIDTH + more", "(WIDTH\n                + more)"),
    ("\n", "\r\n"),
])
def test_layout_comments_and_docstrings_do_not_count(module: Path, old: str, new: str) -> None:
    before = digest()
    assert old in SOURCE
    module.write_bytes(SOURCE.replace(old, new).encode())
    assert digest() == before


@pytest.mark.parametrize(("old", "new"), [
    ("WIDTH = 8", "WIDTH = 9"),
    ("WIDTH = 8", "WIDTH = 8.0"),
    ("WIDTH = 8", "WIDTH = '8'"),
    ("WIDTH + more", "WIDTH - more"),
    ("more=1", "more=2"),
    ("class Block", "class Brick"),
    ("        return WIDTH + more\n", "        WIDTH + more\n"),
])
def test_whatever_a_program_does_counts(module: Path, old: str, new: str) -> None:
    before = digest()
    assert old in SOURCE
    module.write_text(SOURCE.replace(old, new))
    assert digest() != before


def test_order_of_modules_does_not_count(seed: int) -> None:
    names = [f"trilight.hw/support/{name}.py" for name in ("cache", "extras", "sources", "tools")]
    shuffled = random.Random(seed).sample(names, len(names))
    assert sources_sha256(shuffled) == sources_sha256(names)
    assert sources_sha256(names[1:]) != sources_sha256(names)


def test_missing_module_is_an_error(module: Path) -> None:
    module.unlink()
    with pytest.raises(FileNotFoundError):
        digest()
