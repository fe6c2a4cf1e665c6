"""Texts on standard output while they grow, characters that could act on a terminal as escapes."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from trilight.hw.support.terminal import Console, visible
from trilight.sw.host.generation import Token

__all__ = ["TextDisplay"]

_FRAME_LINES = 2
"""Lines of a panel besides its text."""


class TextDisplay:
    """Display of tokens as they arrive; a context manager.

    One text is written as it comes. Of several a terminal shows the ends, each in a frame, and all
    are written one after the other at the end, also when an exception such as that of Ctrl-C comes
    before it.

    Parameters
    ----------
    prompts
        At least one.
    live
        Somebody looks on: show prompts, and texts as they grow.
    """

    def __init__(self, prompts: Sequence[str], *, live: bool) -> None:
        self._prompts = prompts
        self._texts = [""] * len(prompts)
        self._single = len(prompts) == 1
        self._with_prompt = live or not self._single
        self._console = Console(highlight=False)
        self._live = None
        if live and not self._single:
            self._live = Live(console=self._console, transient=True, get_renderable=self._frames)

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        elif self._single and self._with_prompt:
            print(visible(self._prompts[0]), end="", flush=True)
        return self

    def __call__(self, token: Token) -> None:
        self._texts[token.prompt] += str(token)
        if self._single:
            print(visible(str(token)), end="", flush=True)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        if self._live:
            self._live.stop()
        if not self._single:
            whole = map("".join, zip(self._prompts, self._texts, strict=True))
            print(visible("\n\n".join(whole)), end="")
        print(flush=True)

    def _frames(self) -> Group:
        """The end of each text, as many lines as the terminal has room for."""
        width, height = self._console.size
        lines = max((height - 1) // len(self._texts) - _FRAME_LINES, 1)
        panels = []
        for prompt, text in zip(self._prompts, self._texts, strict=True):
            wrapped = Text(visible(prompt), style="bold").append(
                visible(text), style="not bold").wrap(
                self._console, width - 4)
            panels.append(Panel(Text("\n").join(wrapped[-lines:])))
        return Group(*panels)
