"""``trilight compare``: the command; what it measures with is loaded when it runs."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from trilight.sw.console import check_folder, write_json
from trilight.sw.errors import TrainingError
from trilight.sw.evaluate import PROTOCOLS

from .corpus import read_corpus

__all__ = ["compare_command"]

_MOST_CHARACTERS = 256


def compare_command(
    models: Annotated[list[Path], typer.Argument(
        metavar="MODEL...", help="Files of trilight train, of any --network.")],
    corpus: Annotated[Path, typer.Option(
        "--corpus", "-c", metavar="FILE", help="Text that they were trained on; its last 10 % "
                                               "are predicted.")],
    development: Annotated[bool, typer.Option(
        "--development", help="Predict what trilight train --development holds out.")] = False,
    json_file: Annotated[Path | None, typer.Option(
        "--json", metavar="FILE", help="Also write the results to this file as JSON.")] = None,
) -> None:
    """Compare models: bytes, multiplications per character, and quality on held-out text.

    A network in floating point appears twice: as it is, and with its matrices rounded to 8 bits
    after the training.
    """
    if find_spec("torch") is None:
        raise TrainingError("comparing needs PyTorch, which is not installed; "
                            "pip install 'trilight[train]'")
    from .compare import measure

    check_folder(json_file)
    text = read_corpus(corpus, max_vocab=_MOST_CHARACTERS, development=development)
    rows: list[dict[str, Any]] = []
    console = Console()
    for path in models:
        with console.status(f"measuring {path.name}"):
            rows += measure(path, text)
    table = Table("model", "weights", "of", "bytes", "multiplications/char",
                  *(f"nats/char, {protocol}" for protocol in PROTOCOLS), box=None)
    for row in rows:
        table.add_row(
            row["file"], f"{row['weights']:,}", row["format"], f"{row['weight_bytes']:,}",
            f"{row['multiplications_per_char']:,}",
            *("" if (nats := row[f"nats_per_char_{protocol}"]) is None else f"{nats:.4f}"
              for protocol in PROTOCOLS))
    console.print(table)
    if json_file is not None:
        write_json(json_file, {"corpus_sha256": text.sha256, "held_out": text.held_out_part,
                               "models": rows})
