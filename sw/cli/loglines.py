"""``trilight log-lines``: a task of anomalies to try a search on."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from trilight.hw.support.terminal import Console
from trilight.sw.task.logs import SHARE, write_logs

__all__ = ["log_lines_command"]


def log_lines_command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the files go.")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same lines.")] = 1,
    lines: Annotated[int, typer.Option(
        min=1000, max=10_000_000, help="Usual lines to train on.")] = 20_000,
) -> None:
    """Make lines of a small server's log, and such with anomalies among them to find.

    train.txt has usual lines; development.tsv and test.tsv a tenth as many, each with a tab and
    normal or anomaly. A folder of your own log needs the same three files.

    [bold]Example[/]

      trilight log-lines logs

      trilight design --task logs --target "auc >= 0.95" --characters 3000000

      trilight score logs/test.tsv --labelled -m build/design/confirmed.safetensors
    """
    write_logs(folder, seed, lines)
    Console(stderr=True).print(
        f"{lines:,} usual lines, and twice {lines // 10:,} of which about {SHARE:.0%} are strange, "
        f"in {escape(str(folder))}", style="dim")
