"""What ``import trilight`` offers to a script or a notebook."""

import json
import subprocess
import sys
from html.parser import HTMLParser

import pytest

import trilight
from trilight.sw.errors import ReportError
from trilight.sw.report.notebook import Report


def test_a_script_needs_no_other_import() -> None:
    with trilight.open_board() as board:
        assert isinstance(board, trilight.Board)
        board.load()
        assert isinstance(board.model, trilight.Model)
        text = "".join(map(str, board.generate("JULIET:", tokens=8, seed=1)))
        figures = trilight.report(board)
    assert figures["text"] == text
    assert figures["tokens_per_joule"] > 0


def test_importing_it_imports_nothing_else() -> None:
    """So that hw.contract needs neither NumPy nor what else the host does."""
    code = "import sys, trilight; print([n for n in sys.modules if n.startswith('trilight.')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          check=True).stdout.strip() == "[]"


def test_what_it_offers_is_listed_and_nothing_else_is_there() -> None:
    assert {*trilight.__all__} <= {*dir(trilight)}
    assert all(getattr(trilight, name) for name in trilight.__all__)
    with pytest.raises(AttributeError, match="'trilight' has no attribute 'bord'"):
        trilight.bord  # noqa: B018  # the access is what is tested


def report_of(target: str) -> Report:
    with trilight.open_board() as board:
        board.load()
        list(board.generate("A", tokens=3))
        found = trilight.report(board)
    found["target"] = target
    return found


class Cells(HTMLParser):
    """Texts of a table's cells and of its caption."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attributes: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_report_is_a_table_in_a_notebook_and_a_line_at_a_prompt() -> None:
    found = report_of("<script>\x1b[2J")
    assert "\n" not in repr(found)
    assert "tokens/J" in repr(found)
    page = Cells()
    page.feed(found._repr_html_())
    assert "script" not in page.tags
    assert "Trilight on <script>\\x1b[2J, 647,360 ternary weights" in page.texts
    assert {"Cycles per token", "Tokens per joule", "modelled"} <= {*page.texts}
    assert json.loads(json.dumps(found)) == {**found}


def test_a_board_that_has_not_generated_has_no_report() -> None:
    with trilight.open_board() as board, pytest.raises(ReportError, match="nothing to report"):
        trilight.report(board)
