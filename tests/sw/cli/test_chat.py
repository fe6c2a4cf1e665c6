"""``trilight chat``: lines go on from what was said, commands change what follows."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.api import open_board
from trilight.sw.cli.app import main
from trilight.sw.cli.chat import HISTORY_TOKENS, Chat
from trilight.sw.errors import PromptError, UnknownCharacterError
from trilight.sw.host.driver import Board
from trilight.sw.model.model import Model

CONFIG = ModelConfig(vocab_size=30, d_model=24, n_layers=1, d_hidden=24)
TOKENS = 5


@pytest.fixture
def model(seed: int) -> Model:
    from dataclasses import replace
    return replace(Model.random(CONFIG, seed), vocab=tuple("\n abcdefghijklmnopqrstuvwxyz.?"))


@pytest.fixture
def board(model: Model) -> Iterator[Board]:
    with open_board("reference") as board:
        board.load(model)
        yield board


def expected(board: Board, prompt: str, seed: int, temperature: float = 0.8) -> str:
    return "".join(str(token) for token in board.generate(
        prompt, tokens=TOKENS, temperature=temperature, seed=seed))


def said(chat: Chat, line: str) -> str:
    return "".join(str(token) for token in chat.answer(line))


def test_each_line_goes_on_from_all_before(board: Board) -> None:
    chat = Chat(board, TOKENS, 0.8, 3)
    first = said(chat, "ab")
    assert first == expected(board, "ab\n", 3)
    second = said(chat, "c")
    assert second == expected(board, f"ab\n{first}c\n", 4)
    assert said(chat, "") == expected(board, f"ab\n{first}c\n{second}", 5)
    assert chat.text.startswith(f"ab\n{first}c\n{second}")


def test_an_empty_line_can_begin(board: Board) -> None:
    assert said(Chat(board, TOKENS, 0.8, 0), "") == expected(board, "\n", 0)


def test_history_is_bounded(board: Board) -> None:
    chat = Chat(board, TOKENS, 0.0, 0, text="a" * (2 * HISTORY_TOKENS))
    assert said(chat, "b") == expected(board, "a" * (HISTORY_TOKENS - 2) + "b\n", 0, 0.0)


def test_a_stopped_text_stays_as_far_as_it_came(board: Board) -> None:
    chat = Chat(board, TOKENS, 0.8, 0)
    stream = chat.answer("ab")
    first = str(next(stream))
    stream.close()
    assert chat.text == f"ab\n{first}"
    assert len(said(chat, "c")) == TOKENS


def test_settings(board: Board) -> None:
    chat = Chat(board, TOKENS, 0.8, 0)
    assert chat.set("temperature", "0.25") == "temperature 0.25"
    assert chat.set("tokens", "2") == "tokens 2"
    assert chat.set("seed", "9") == "seed 9"
    assert (chat.temperature, chat.tokens, chat.seed) == (0.25, 2, 9)
    for command, argument, sentence in (
            ("volume", "1", "no command /volume"), ("seed", "x", "takes a number, not 'x'"),
            ("tokens", "0", "at least 1"), ("temperature", "-1", "temperature")):
        with pytest.raises(PromptError, match=sentence):
            chat.set(command, argument)
    assert (chat.temperature, chat.tokens, chat.seed) == (0.25, 2, 9)


def test_what_the_model_does_not_know_changes_nothing(board: Board) -> None:
    chat = Chat(board, TOKENS, 0.8, 0, text="ab\n")
    with pytest.raises(UnknownCharacterError):
        said(chat, "7")
    assert chat.text == "ab\n"
    assert chat.seed == 0


def test_the_console(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                     capsys: pytest.CaptureFixture[str], board: Board) -> None:
    model.save(tmp_path / "model")
    lines = iter(["ab", "/seed 7", "/new", "c", "7", "/nonsense", "/history", "/help", "/quit",
                  "never"])
    monkeypatch.setattr("builtins.input", lambda _prompt="": next(lines))
    assert main(["chat", "--model", str(tmp_path / "model"), "-n", str(TOKENS)]) == 0
    out, err = capsys.readouterr()
    last = expected(board, "c\n", 7)
    assert out == f"{expected(board, 'ab' + chr(10), 0)}\n{last}\n"
    for part in ("seed 7", "no command /nonsense", f"c\n{last}", "/temperature T",
                 "tokens/s on this computer"):
        assert part in err
    assert next(lines) == "never"


def test_the_end_of_the_input_ends_it(model: Model, tmp_path: Path,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    def end(_prompt: str = "") -> str:
        raise EOFError

    model.save(tmp_path / "model")
    monkeypatch.setattr("builtins.input", end)
    assert main(["chat", "--model", str(tmp_path / "model")]) == 0


LINES = ("abab ab", "cab ab", "abab")


@pytest.fixture
def learning(model: Model) -> Iterator[Board]:
    with open_board("reference:icebreaker-learns") as board:
        board.load(model)
        yield board


def test_a_board_learns_from_each_line_once(learning: Board, model: Model) -> None:
    chat = Chat(learning, TOKENS, 0.8, 7, adapt=True)
    texts = [said(chat, line) for line in LINES]
    learnt = learning.learnt()
    # By hand: the lines alone are learnt from, and what was learnt by then is in each text.
    learning.restore_learnt()
    history, found = "", []
    for seed, line in enumerate(LINES, 7):
        for _ in learning.generate(f"{line}\n", tokens=1, seed=seed, adapt=True):
            pass
        kept = learning.learnt()
        history += f"{line}\n"
        found.append("".join(map(str, learning.generate(
            history, tokens=TOKENS, temperature=0.8, seed=seed, adapt=True))))
        history += found[-1]
        learning.restore_learnt(kept)
    assert texts == found
    assert learnt == learning.learnt()
    assert any(learnt)
    # A text that is stopped teaches no more than one that is not.
    stream = chat.answer("ab")
    next(stream)
    stream.close()
    stopped = learning.learnt()
    learning.restore_learnt(learnt)
    for _ in learning.generate("ab\n", tokens=1, seed=7 + len(LINES), adapt=True):
        pass
    assert learning.learnt() == stopped


def test_what_was_learnt_is_kept_in_a_file(
        model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, kept = tmp_path / "m.safetensors", tmp_path / "learnt"
    model.save(path)

    def talk(*lines: str) -> None:
        typed = iter(lines)
        monkeypatch.setattr("builtins.input", lambda _ask: next(typed))
        assert main(["chat", "--target", "reference:icebreaker-learns", "--model", str(path),
                     "--tokens", "2", "--adapt", "--learnt", str(kept)]) == 0

    talk("abab", "/quit")
    once = kept.read_bytes()
    assert any(once)
    talk("/quit")
    assert kept.read_bytes() == once
    talk("/forget", "/quit")
    assert not any(kept.read_bytes())
    assert main(["chat", "--learnt", str(kept)]) == 2
