"""The examples run as they stand, and say what the library says."""

import subprocess
import sys
from pathlib import Path

import pytest

import trilight

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def said_by(name: str, *arguments: str, folder: Path) -> str:
    """What an example prints, started in another folder."""
    done = subprocess.run([sys.executable, str(EXAMPLES / name), *arguments], cwd=folder,
                          capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def expected(prompt: str, tokens: int, seed: int) -> str:
    with trilight.open_board() as board:
        board.load()
        return "".join(map(str, board.generate(prompt, tokens=tokens, seed=seed)))


@pytest.mark.parametrize("target", ["netlist", "reference"])
def test_maker(target: str, tmp_path: Path) -> None:
    said = said_by("maker.py", target, folder=tmp_path)
    assert expected("ROMEO:", 12, 7) in said
    assert repr({0: "ROMEO:" + expected("ROMEO:", 6, 7),
                 1: "JULIET:" + expected("JULIET:", 6, 8)}) in said
    assert "cycles a token" in said
    assert "µJ a token, modelled" in said


def test_researcher(tmp_path: Path) -> None:
    corpus = tmp_path / "play.txt"
    corpus.write_text("ROMEO:\nO, she doth teach the torches to burn bright!\n" * 3)
    said = said_by("researcher.py", str(corpus), folder=tmp_path)
    assert "nats per character" in said
    assert said.count("tokens/s") == 4
    assert "does not fit" in said
    assert "nats per character" in said_by("researcher.py", folder=tmp_path)


def test_every_example_is_tested() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{path.name}"' in source for path in EXAMPLES.glob("*.py"))
