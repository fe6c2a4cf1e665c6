"""The command that compiles a model file to a device's image."""

from pathlib import Path
from typing import Annotated

import typer

from trilight.hw.support.boards import DEFAULT_BOARD, board_device
from trilight.hw.support.terminal import Console
from trilight.sw.model.image import compile_image, read_image
from trilight.sw.model.model import Model

from .console import check_folder, write_file

__all__ = ["image"]


def image(
    model: Annotated[Path, typer.Argument(
        metavar="MODEL", help="Model file, or an image of an earlier version.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Image to write.")],
    board: Annotated[str, typer.Option(
        "--board", metavar="NAME", help="Board whose chip it is for.")] = DEFAULT_BOARD,
) -> None:
    """Compile a model file to the image that a device is loaded with.

    An image of an earlier version is converted to one of this version, without its model.
    """
    check_folder(out)
    made = read_image(model) or compile_image(Model.load(model), board_device(board))
    data = made.to_bytes()
    write_file(out, data)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if made.converted:
        console.print(f"{model} is an image of an earlier version, and has been converted.")
    console.print(f"{len(data):,} bytes written to {out}")
