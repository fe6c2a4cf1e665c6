"""Output to a terminal or a page: foreign text cannot act there.

A model file, a device, a meter or a path may hold any character. Control characters move a
terminal's cursor, write its title or its clipboard; bidirectional ones show text in another order
than it has. ``visible`` writes them as escapes, and ``Console`` does so with all that it prints.
"""

import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

__all__ = ["Console", "shown", "visible"]

_ACTING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of Unicode: control, format, halves of characters (as in names of files that are no
UTF-8), separators of lines and paragraphs."""

_KEPT = frozenset("\n\t")


class _Shown(dict[int, str]):
    """Visible form of each character, by its code."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if unicodedata.category(character) in _ACTING and character not in _KEPT:
            character = character.encode("ascii", "backslashreplace").decode() \
                if code > 0x7f else f"\\x{code:02x}"
        self[code] = character
        return character


_SHOWN = _Shown()


def visible(text: str) -> str:
    """Return ``text`` with control and formatting characters as Python's escapes, ``\\x1b``.

    Newlines and tabs stay. An escape can not be told from the same letters in the text, so what is
    to be read again is written as JSON instead.
    """
    return text.translate(_SHOWN)


def shown(value: Any) -> Any:
    """Return a copy of a JSON value in which all text is ``visible``, for a page or a picture."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {shown(key): shown(item) for key, item in value.items()}
    return [shown(item) for item in value] if isinstance(value, list | tuple) else value


class Console(RichConsole):
    """Rich's console, which shows all text by ``visible`` and takes no ``:name:`` for a picture.

    Its own colours and movements are no text, and remain.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"emoji": False, **settings})

    def render_str(self, text: str, **settings: Any) -> Text:
        # Before it is measured and wrapped.
        return super().render_str(visible(text), **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None
               ) -> Iterator[Segment]:
        # What was no string, such as a Text that holds one.
        for segment in super().render(renderable, options):
            shown = segment.text if segment.control else visible(segment.text)
            yield segment if shown == segment.text else Segment(shown, segment.style)
