"""``make install`` where something is missing: a sentence of our own, and nothing half done."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = [
    pytest.mark.slow,  # a virtual environment takes half a minute
    pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed"),
]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copytree(ROOT, tmp_path / "checkout", ignore=shutil.ignore_patterns(
        ".git", ".venv", "build", "*.egg-info", "__pycache__", "typings", "*_cache"))
    return tmp_path / "checkout"


def make(folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["make", "install"], cwd=folder, capture_output=True, text=True,
                          check=False, timeout=250,
                          env={**os.environ, "PIP_CONFIG_FILE": os.devnull, **environment})


def test_without_a_network(checkout: Path) -> None:
    done = make(checkout, PIP_INDEX_URL="https://127.0.0.1:9/simple", PIP_NO_CACHE_DIR="1")
    assert done.returncode != 0
    assert ("Nothing was installed, for no package index answers: check the network, or name "
            "another by PIP_INDEX_URL") in done.stderr.splitlines()
    assert list((checkout / ".venv").glob("stamp-*")) == []


def test_without_permission(checkout: Path) -> None:
    (checkout / "build").write_text("in the way, as a folder of another user would be")
    done = make(checkout)
    assert done.returncode != 0
    assert "Nothing can be written into" in done.stderr
    assert not (checkout / ".venv").exists()


def test_without_room(checkout: Path, tmp_path: Path) -> None:
    """The tools of a virtual environment fail without a reason."""
    programs = {"df": "echo Filesystem; echo disk 100000 99000 1000 99% /",
                "python": 'case "$1" in -m) exit 1;; esac'}
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = make(checkout, PATH=f"{tmp_path}:{os.environ['PATH']}",
                MAKEFLAGS=f"PYTHON={tmp_path / 'python'}")
    assert done.returncode != 0
    assert "Nothing was installed, for the disk is full: make room for 200 MB" in done.stderr
    assert "apt-get" not in done.stderr
