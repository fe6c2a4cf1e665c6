"""A console that talks with a model on any target: ``trilight chat``."""

import contextlib
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from trilight.hw.support.terminal import Console, visible
from trilight.sw.api import open_board, report
from trilight.sw.errors import PromptError, ReportError, TrilightError, UnknownCharacterError
from trilight.sw.host.driver import Board
from trilight.sw.host.generation import Token, check_request
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model
from trilight.sw.model.text import prompt_for

from .console import check_folder, progress_bar, write_file

__all__ = ["Chat", "chat_command"]

HISTORY_TOKENS = 1000
"""Characters of the text so far that a line goes on from, at most."""

HELP = """\
Type a line and press Enter; the model goes on from it, and from all that was said before.
  /temperature T   0 takes the likeliest character always, 1 follows the model's probabilities
  /tokens N        how much follows a line
  /seed N          seed of the next text; each text after it has the next one
  /new             forget what was said
  /history         show it
  /forget          forget what was learnt (with --adapt)
  /help            this
  /quit            end; so does Ctrl-D. Ctrl-C stops a text."""


@dataclass
class Chat:
    """A conversation: what was said, and how the next text is generated."""

    board: Board
    """Board with a model loaded."""
    tokens: int
    """Characters after a line."""
    temperature: float
    seed: int
    """Seed of the next text."""
    text: str = ""
    """All that was typed and generated since the beginning."""
    adapt: bool = False
    """True if the board learns from each line that is typed."""
    changes: tuple[str, ...] = field(default=(), init=False)
    """Changes: what of the last line is read otherwise than it was typed."""

    @property
    def model(self) -> Model:
        """The model of the board."""
        assert self.board.model is not None
        return self.board.model

    def answer(self, line: str) -> Generator[Token, None, None]:
        """Go on from a line, token by token; closing the iterator stops it.

        An empty line goes on from what was said.

        Raises
        ------
        PromptError, UnknownCharacterError
            The model can not go on from it; nothing is said.
        """
        wanted = line if line or self.text else "\n"
        ends = "\n" if line and "\n" in self.model.vocab else ""
        prompt, self.changes = prompt_for(self.model.vocab, wanted + ends) if wanted else ("", ())
        whole = (self.text + prompt)[-HISTORY_TOKENS:]
        check_request(self.model, whole, tokens=self.tokens, temperature=self.temperature,
                      seed=self.seed)
        self.text += prompt
        learnt = self._learn(prompt) if self.adapt else None
        stream = self.board.generate(whole, tokens=self.tokens, temperature=self.temperature,
                                     seed=self.seed, adapt=self.adapt)
        self.seed = (self.seed + 1) % (1 << 32)
        try:
            with contextlib.closing(stream):
                for token in stream:
                    self.text += str(token)
                    yield token
        finally:
            # The text so far was read once more, for what is in it: that teaches nothing.
            if learnt is not None:
                self.board.restore_learnt(learnt)

    def _learn(self, line: str) -> bytes:
        """Have a line read, and return all that is learnt by then."""
        if line:
            for _ in self.board.generate(line, tokens=1, seed=self.seed, adapt=True):
                pass
        return self.board.learnt()

    def set(self, command: str, argument: str) -> str:
        """Change a setting; return what to say of it.

        Raises
        ------
        PromptError
            There is no such setting, or no such value.
        """
        kinds: dict[str, Callable[[str], Any]] = {
            "temperature": float, "tokens": int, "seed": int}
        if command not in kinds:
            raise PromptError(f"there is no command /{command}; /help lists them")
        try:
            value = kinds[command](argument)
        except ValueError:
            raise PromptError(f"/{command} takes a number, not {argument!r}") from None
        chosen = {"tokens": self.tokens, "temperature": self.temperature, "seed": self.seed,
                  command: value}
        check_request(self.model, self.model.vocab[0], **chosen)
        setattr(self, command, value)
        return f"{command} {value:g}" if command == "temperature" else f"{command} {value}"

    def speed(self) -> str:
        """Tokens per second and energy of the last text, each as the report knows it."""
        try:
            results = report(self.board)
        except ReportError:
            return ""
        run = self.board.last_run
        assert run is not None
        parts = []
        if self.board.identity.clock_hz and results["tokens_per_s"]:
            parts.append(f"{results['tokens_per_s']:,.0f} tokens/s at "
                         f"{self.board.identity.clock_hz / 1e6:g} MHz")
        elif run.host_seconds and run.tokens:
            parts.append(f"{run.tokens / run.host_seconds:,.0f} tokens/s on this computer")
        per_joule = results["tokens_per_joule"]
        if per_joule and results["figures"]["tokens_per_joule"]["provenance"]:
            figure = results["figures"]["tokens_per_joule"]
            parts.append(f"{1e6 * run.tokens / per_joule:,.0f} uJ of the FPGA core, "
                         f"{figure['provenance']}")
        return "; ".join(parts)


def chat_command(
    target: Annotated[str, typer.Option(
        "--target", help="What runs the model: reference, rtl, netlist, bitstream or "
                         "serial:PORT.")] = "reference",
    model: Annotated[Path | None, typer.Option(
        "--model", "-m", metavar="FILE", help="Model file. Default: the bundled one.")] = None,
    tokens: Annotated[int, typer.Option(
        "--tokens", "-n", help="Characters after a line.")] = 200,
    temperature: Annotated[float, typer.Option("--temperature", "-t")] = 0.8,
    seed: Annotated[int, typer.Option(
        "--seed", "-s", help="Of the first text; each one after it has the next seed.")] = 0,
    adapt: Annotated[bool, typer.Option(
        "--adapt", help="Let the board learn from each line that you type, as one can that is "
                        "built for it (trilight boards), or reference:BOARD.")] = False,
    learnt: Annotated[Path | None, typer.Option(
        "--learnt", metavar="FILE", help="Of --adapt: begin with what this file holds, if it is "
                                         "there, and write into it at the end what was learnt "
                                         "by then.")] = None,
) -> None:
    """Talk with a model: type a line, read what follows, go on.

    The text so far is kept, and each line is added to it. Commands begin with a slash; /help lists
    them. Ctrl-C stops a text, Ctrl-D ends.

    With --adapt the board gets used to your lines; what it generates, it does not learn from.
    """
    if learnt is not None and not adapt:
        raise PromptError("--learnt keeps what --adapt learns; give both or neither")
    check_folder(learnt)
    console = Console(stderr=True)
    loaded = Model.load(model or default_model_path())
    check_request(loaded, loaded.vocab[0], tokens=tokens, temperature=temperature, seed=seed)
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives input() keys to edit a line and to recall one
    with open_board(target, progress=lambda text: console.print(escape(text),
                                                                style="dim")) as board:
        with progress_bar(console, f"Loading the model into {target}") as advance:
            board.load(loaded, progress=advance)
        if board.resident:
            console.print("the board has the model's weights already", style="dim")
        chat = Chat(board, tokens, temperature, seed, adapt=adapt)
        if adapt:
            board.restore_learnt(_read_learnt(learnt))
        console.print("/help lists commands; Ctrl-D ends", style="dim")
        while (line := _ask()) is not None:
            try:
                if not _turn(chat, line, console):
                    break
            except (PromptError, UnknownCharacterError) as error:
                console.print(str(error), style="red", markup=False)
        if learnt is not None:
            write_file(learnt, board.learnt())


def _read_learnt(path: Path | None) -> bytes | None:
    """Return what a file of ``--learnt`` holds; ``None`` without one."""
    if path is None or not path.exists():
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise PromptError(f"cannot read {path}: {error.strerror}; name another file with "
                          "--learnt") from error


def _ask() -> str | None:
    """Return a line that was typed; ``None`` at the end."""
    try:
        return input("> " if sys.stdin.isatty() else "")
    except EOFError:
        return None
    except KeyboardInterrupt:
        return ""


def _turn(chat: Chat, line: str, console: Console) -> bool:
    """Do what a line asks for; tell if the conversation goes on."""
    command, _, argument = line.removeprefix("/").partition(" ")
    if not line.startswith("/"):
        _say(chat, line, console)
    elif command == "quit":
        return False
    elif command == "help":
        console.print(HELP, markup=False, highlight=False)
    elif command == "new":
        chat.text = ""
    elif command == "forget":
        chat.board.restore_learnt()
    elif command == "history":
        console.print(visible(chat.text), markup=False, highlight=False)
    else:
        console.print(chat.set(command, argument.strip()), style="dim", markup=False)
    return True


def _say(chat: Chat, line: str, console: Console) -> None:
    stream = chat.answer(line)
    try:
        with contextlib.closing(stream):
            for token in stream:
                print(visible(str(token)), end="", flush=True)
    except KeyboardInterrupt:
        console.print("\nstopped", style="dim")
    print(flush=True)
    if chat.changes:
        console.print(", ".join(chat.changes), style="dim", markup=False)
    with contextlib.suppress(TrilightError):
        if speed := chat.speed():
            console.print(speed, style="dim", markup=False)
