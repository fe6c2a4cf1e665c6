"""Texts on standard output: one as it comes, several in frames and then whole."""

import re

import pytest
from rich.console import Console

from trilight.sw.cli.display import TextDisplay
from trilight.sw.host.generation import Token

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
WIDTH, HEIGHT = 30, 15


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Rich takes for a small terminal."""
    for name, value in (("COLUMNS", WIDTH), ("LINES", HEIGHT), ("FORCE_COLOR", 1)):
        monkeypatch.setenv(name, str(value))


def give(show: TextDisplay, prompt: int, text: str) -> None:
    for character in text:
        show(Token(0, character, 0, prompt))


@pytest.mark.parametrize(("live", "start"), [(True, "To "), (False, "")])
def test_one_text_comes_as_it_grows(live: bool, start: str,
                                    capsys: pytest.CaptureFixture[str]) -> None:
    with TextDisplay(["To "], live=live) as show:
        assert capsys.readouterr().out == start
        give(show, 0, "be")
        assert capsys.readouterr().out == "be"
    assert capsys.readouterr().out == "\n"


def test_several_texts_where_nobody_looks_on(capsys: pytest.CaptureFixture[str]) -> None:
    with TextDisplay(["To ", "Or "], live=False) as show:
        give(show, 1, "not")
        give(show, 0, "be")
        assert capsys.readouterr().out == ""
    assert capsys.readouterr().out == "To be\n\nOr not\n"


def test_several_texts_grow_in_frames(capsys: pytest.CaptureFixture[str],
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")  # a terminal that can move its cursor

    def interrupted() -> None:
        with TextDisplay(["To [b]", "Or "], live=True) as show:
            give(show, 0, "be\n" * 20)
            give(show, 1, "not")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    whole = "To [b]" + "be\n" * 20 + "\n\nOr not\n"
    raw = capsys.readouterr().out
    assert "\x1b[2K" in raw.rpartition("\u2570")[2]  # the frames go
    out = ESCAPE.sub("", raw)
    assert out.endswith(whole)
    shown = out.removesuffix(whole)
    assert "Or not" in shown
    assert shown.count("\u256d") >= 2


@pytest.mark.parametrize("count", [2, 3, 20])
def test_frames_show_the_ends_that_fit(count: int) -> None:
    show = TextDisplay([f"{number}: " for number in range(count)], live=True)
    for number in range(count):
        give(show, number, "word " * 60 + f"end{number}")
    console = Console(width=WIDTH, height=HEIGHT)
    lines = console.render_lines(show._frames(), pad=False)
    text = "\n".join("".join(segment.text for segment in line) for line in lines)
    assert len(lines) < HEIGHT or len(lines) == 3 * count
    assert max(map(len, text.splitlines())) <= WIDTH
    for number in range(count):
        assert f"end{number}" in text
