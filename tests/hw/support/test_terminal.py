"""Text of strangers on a terminal or a page: nothing in it acts."""

import io
import unicodedata

import pytest
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from trilight.hw.support.terminal import Console, shown, visible

ACTING = [character for character in map(chr, range(0x110000))
          if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
          and character not in "\n\t"]
"""By Unicode's own table."""

TITLE = "\x1b]0;pwned\x07"
BACKWARDS = "\u202etxt.exe"
STRANGE = [TITLE, "\x9b31m", BACKWARDS, "\rOverwritten", "\x08\x08", "\u2066\u200b\ufeff"]


@pytest.fixture(autouse=True)
def _terminal_of_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    """Colours and pictures that move, whatever the terminal of the tests can do."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def test_every_acting_character_is_an_escape() -> None:
    assert {"\x1b", "\x9b", "\x7f", "\r", "\u202e", "\u2028", "\ud800", "\U000e0001"} < set(ACTING)
    for character in ACTING:
        escaped = visible(character)
        assert escaped.isascii()
        assert escaped.isprintable()
        assert escaped.encode().decode("unicode_escape") == character


def test_all_else_stays() -> None:
    text = "ROMEO:\n\tWherefore? Größe 日本語 emoji \U0001f600 \\x1b"
    assert visible(text) == text


def test_values_of_json_are_shown_in_depth() -> None:
    assert shown({"a\x1b": ["\x9b", 3, None, ("\u202e", {"b": True})]}) == {
        "a\\x1b": ["\\x9b", 3, None, ["\\u202e", {"b": True}]]}


def printed(*objects: object, **settings: object) -> str:
    file = io.StringIO()
    Console(file=file, width=60, highlight=False, **settings).print(*objects)
    return file.getvalue()


def table(text: str) -> Table:
    table = Table("name", text, title=text, caption=text)
    table.add_row(text, Text(text))
    return table


@pytest.mark.parametrize("strange", STRANGE, ids=ascii)
@pytest.mark.parametrize("wrap", [str, Text, Panel, table], ids=["text", "Text", "Panel", "table"])
@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_acts_that_is_printed(strange: str, wrap: type, terminal: bool) -> None:
    own = printed(wrap("plain"), force_terminal=terminal)
    given = printed(wrap(strange), force_terminal=terminal)
    assert not set(given) & set(ACTING) - set(own)
    assert strange not in given
    # Of a Text, Rich itself leaves some of them out.
    assert visible(strange)[:4] in given or wrap is not str


def test_own_colours_remain() -> None:
    assert printed("[bold red]Error:[/] x", force_terminal=True).startswith("\x1b[1;31m")
    assert printed(":smile:", force_terminal=False) == ":smile:\n"


def test_escapes_have_the_room_that_they_take() -> None:
    """A table is as wide with them as with the same characters in plain."""
    assert [len(line) for line in printed(table("\x1b\u202e")).splitlines()] == [
        len(line) for line in printed(table("/x1b/u202e")).splitlines()]


def test_a_picture_that_moves() -> None:
    file = io.StringIO()
    console = Console(file=file, width=40, force_terminal=True)
    with Live(Panel(Text(TITLE)), console=console, transient=True):
        pass
    assert "]0;pwned" in file.getvalue()
    assert TITLE not in file.getvalue()
