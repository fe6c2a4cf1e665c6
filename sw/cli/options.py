"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

from trilight.sw.errors import TargetError

__all__ = ["BoardsOption", "JsonOption", "ModelOption", "QuietOption", "refuse_boards"]

ModelOption = Annotated[Path | None, typer.Option(
    "--model", "-m", metavar="FILE", help="Model file. Default: the bundled one.")]

JsonOption = Annotated[Path | None, typer.Option(
    "--json", metavar="FILE", help="Also write the results to this file as JSON.")]

BoardsOption = Annotated[int, typer.Option(
    "--boards", min=1, help="Of an imported model: divide its layers over so many virtual boards, "
                            "each a process, which pass activations on in frames. The same tokens "
                            "as one board; several prompts keep all boards busy.")]

QuietOption = Annotated[bool, typer.Option(
    "--quiet", "-q", help="Do not show the results; what takes minutes says so nevertheless.")]


def refuse_boards(boards: int) -> None:
    """Refuse several boards for a model that is not imported."""
    if boards != 1:
        raise TargetError("--boards divides an imported model; give one that trilight import wrote "
                          "with --model FILE")
