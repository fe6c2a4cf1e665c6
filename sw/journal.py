"""Journal of a campaign: results in a file, from which an interrupted campaign resumes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import SimulationError, TrilightError

__all__ = ["Journal"]


class Journal:
    """Results by key, each a line of JSON that is written when the result is known.

    The first line says what the results are of. A last line that was cut off, as by a power
    failure, is dropped; its result is missing and will be computed again.

    Parameters
    ----------
    path
        File; its folder is made.
    about
        All that the results depend on, such as target, seed and digests.
    error
        Raised for a file of another campaign, or one that cannot be used.

    Attributes
    ----------
    results : dict
        Results by key. A later result of a key replaces the earlier one.
    """

    def __init__(self, path: Path, about: Mapping[str, Any], *,
                 error: type[TrilightError] = SimulationError) -> None:
        self.path = path
        self.about = dict(about)
        self.results: dict[str, Any] = {}
        self._error = error
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            data = path.read_bytes() if path.exists() else b""
            whole = data[:data.rfind(b"\n") + 1]
            if whole != data:
                path.write_bytes(whole)
        except OSError as problem:
            raise error(f"results cannot be kept in {path}: {problem.strerror}; name another "
                        "place") from problem
        if not whole:
            self._append(self.about)
            return
        try:
            about_found, *lines = (json.loads(line) for line in whole.splitlines())
            self.results = dict(lines)
        except (ValueError, TypeError, RecursionError) as problem:
            raise error(f"{path} holds no results of a campaign ({problem}); name another file "
                        "or remove it") from problem
        if about_found != self.about:
            raise error(f"{path} is of {about_found}, not of {self.about}; name another file or "
                        "remove it")

    def keep(self, key: str, result: Any) -> None:
        """Write a result down; ``result`` is ready for JSON."""
        self.results[key] = result
        self._append([key, result])

    def _append(self, line: Any) -> None:
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, separators=(",", ":")) + "\n")
        except OSError as problem:
            raise self._error(f"results cannot be kept in {self.path}: {problem.strerror}; make "
                              "room, the same command goes on") from problem
