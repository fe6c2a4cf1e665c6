"""Tools that take long say so, and that they are still at work."""

import sys
from pathlib import Path

import pytest

from trilight.hw.support import tools


def test_what_takes_long_says_how_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "BEAT_S", 0.1)
    heard: list[str] = []
    nap = [sys.executable, "-c", "import time; time.sleep(0.5)"]
    tools.run_all([nap], tmp_path, tmp_path / "log", progress=heard.append, what="napping",
                  about="about a second")
    assert heard[0] == "napping, about a second"
    assert {*heard[1:]} & {"napping, 0 s so far", "napping, 1 s so far"}


def test_what_is_over_soon_says_only_what_it_is(tmp_path: Path) -> None:
    heard: list[str] = []
    tools.run_all([[sys.executable, "-c", ""]], tmp_path, tmp_path / "log",
                  progress=heard.append, what="doing nothing")
    assert heard == ["doing nothing"]
