"""``trilight export``: the model in other forms."""

from pathlib import Path
from typing import Annotated

import typer

from trilight.hw.support.terminal import visible
from trilight.sw.export import export_c
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model

from .console import check_folder, write_json

__all__ = ["export_commands"]

export_commands = typer.Typer(
    no_args_is_help=True, help="Write a model for other programs and devices.")


@export_commands.callback()
def _group() -> None:
    """Keep ``c`` a command of its own while the group has no other."""


@export_commands.command("c")
def export_c_command(
    folder: Annotated[Path, typer.Argument(
        metavar="FOLDER", help="Where trilight.c and model.h go; made if it is missing.")],
    model: Annotated[Path | None, typer.Option(
        "--model", "-m", metavar="FILE", help="Model file. Default: the bundled one.")] = None,
    force: Annotated[bool, typer.Option(
        "--force", help="Overwrite files that are there.")] = False,
    json_file: Annotated[Path | None, typer.Option(
        "--json", metavar="FILE", help="Also write the sizes to this file as JSON.")] = None,
) -> None:
    """Write a model as one C99 file and a header: integers only, no heap, no libm.

    The program gives the tokens of the integer reference and of the chip, for the same seed. It
    builds for a computer, and for any microcontroller with room for the constants in flash.

    [bold]Example[/]

      trilight export c talk && cc -O2 -o talk/talk talk/trilight.c && talk/talk "ROMEO:" 200
    """
    check_folder(json_file)
    loaded = Model.load(model or default_model_path())
    export = export_c(loaded, folder, force=force)
    print(visible(f"{export.source} and {export.header.name}: {export.constant_bytes:,} bytes of "
                  f"constants for flash, {export.ram_bytes:,} bytes of RAM"))
    if json_file is not None:
        write_json(json_file, {
            "model_sha256": loaded.sha256, "constant_bytes": export.constant_bytes,
            "ram_bytes": export.ram_bytes})
