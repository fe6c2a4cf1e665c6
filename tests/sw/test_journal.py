"""Journals of campaigns: what is known is not computed again, and nothing else is believed."""

from pathlib import Path

import pytest

from trilight.sw.errors import FaultsError, SimulationError
from trilight.sw.journal import Journal

ABOUT = {"target": "rtl", "seed": 1}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "new" / "journal.jsonl"
    journal = Journal(path, ABOUT)
    for key, result in (("1", [1, 2]), ("2", {"a": None}), ("1", "again")):
        journal.keep(key, result)
    return path


def test_a_journal_goes_on(path: Path) -> None:
    journal = Journal(path, ABOUT)
    assert journal.results == {"1": "again", "2": {"a": None}}
    journal.keep("3", 7)
    assert Journal(path, ABOUT).results == {**journal.results, "3": 7}


def test_a_line_that_was_cut_off_is_dropped(path: Path) -> None:
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        journal = Journal(path, ABOUT)
        assert len(journal.results) == min(2, max(0, whole[:length].count(b"\n") - 1))
        journal.keep("9", 9)
        assert Journal(path, ABOUT).results == {**journal.results, "9": 9}


def test_another_campaign_is_not_added_to(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(SimulationError, match=r"is of .*'seed': 1.*, not of .*'seed': 2"):
        Journal(path, {**ABOUT, "seed": 2})
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["nothing\n", "{}\n[1]\n", '{}\n["a", 1]\nx\n', "\xff\n"])
def test_what_is_no_journal(text: str, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(text, "latin-1")
    with pytest.raises(SimulationError, match="holds no results"):
        Journal(path, {})


def test_a_place_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FaultsError, match="cannot be kept"):
        Journal(tmp_path / "file" / "journal.jsonl", ABOUT, error=FaultsError)
