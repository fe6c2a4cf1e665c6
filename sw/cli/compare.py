"""``trilight compare``: the command; what it measures with is loaded when it runs."""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from trilight.hw.support.extras import pip_install
from trilight.hw.support.terminal import Console
from trilight.sw.errors import TrainingError
from trilight.sw.quality.evaluate import PROTOCOLS
from trilight.sw.train.corpus import read_corpus

from .console import check_folder, write_json

__all__ = ["compare_command", "published_models"]

_MAX_CHARACTERS = 256


def published_models(corpus_sha256: str) -> list[dict[str, Any]]:
    """Return what others published about models of a text: empty but for Tiny Shakespeare."""
    found = json.loads(files("trilight.sw.train").joinpath("published.json").read_text("utf-8"))
    models: list[dict[str, Any]] = found["models"]
    return models if found["corpus_sha256"] == corpus_sha256 else []


def compare_command(
    models: Annotated[list[Path], typer.Argument(
        metavar="MODEL...", help="Files of trilight train, of any --network. Energies are shown "
                                 "in parts of the first one's.")],
    corpus: Annotated[Path, typer.Option(
        "--corpus", "-c", metavar="FILE", help="Text that they were trained on; its last 10 % "
                                               "are predicted.")],
    development: Annotated[bool, typer.Option(
        "--development", help="Predict what trilight train --development holds out.")] = False,
    json_file: Annotated[Path | None, typer.Option(
        "--json", metavar="FILE", help="Also write the results to this file as JSON, with how "
                                       "each model was trained.")] = None,
) -> None:
    """Compare models: bytes, operations and energy per character, and quality on held-out text.

    A network in floating point appears twice: as it is, and with weights and inputs of its
    matrices rounded to 8 bits after the training. Energy is modelled for all alike, from published
    energies of single operations: arithmetic and reading of weights, on no particular chip. Models
    that differ in the seed only are summed up.
    """
    if find_spec("torch") is None:
        raise TrainingError("comparing needs PyTorch, which is not installed; "
                            + pip_install("trilight[train]"))
    from trilight.sw.train.compare import compare, seed_groups

    check_folder(json_file)
    text = read_corpus(corpus, max_vocab=_MAX_CHARACTERS, development=development)
    console = Console()
    with console.status("measuring") as status:
        rows = compare(models, text, progress=lambda name: status.update(f"measuring {name}"))
    groups = seed_groups(rows)
    published = [] if development else published_models(text.sha256)
    _show(console, rows, groups, published)
    if json_file is not None:
        write_json(json_file, {"corpus": text.name, "corpus_sha256": text.sha256,
                               "held_out": text.held_out_part, "models": rows, "seeds": groups,
                               "published": published})


def _show(console: Console, rows: Sequence[Mapping[str, Any]],
          groups: Sequence[Mapping[str, Any]], published: Sequence[Mapping[str, Any]]) -> None:
    table = Table("\nmodel", "\nof", "\nbytes", "multiplied,\nper char", "added,\nper char",
                  "nJ/char,\nmodelled (90 %)", "of the first", "nats/char,\nstateful",
                  "nats/char,\nwindows", box=None)
    for row in rows:
        energy, ratio = row["energy_per_char"], row["energy_ratio_to_first"]
        table.add_row(
            row["file"], row["format"], f"{row['weight_bytes']:,}",
            f"{row['multiplications_per_char']:,.0f}", f"{row['additions_per_char']:,.0f}",
            f"{energy['value']:,.0f} ({energy['interval']['p05']:,.0f} to "
            f"{energy['interval']['p95']:,.0f})",
            f"{ratio['p50']:.3g} ({ratio['p05']:.3g} to {ratio['p95']:.3g})",
            *("" if (nats := row[f"nats_per_char_{protocol}"]) is None else f"{nats:.4f}"
              for protocol in PROTOCOLS))
    for model in published:
        size = model["weight_bytes"]
        table.add_row(f"{model['name']}, published", model["format"],
                      "" if size is None else f"{size:,}", "", "", "", "", "",
                      f"{model['nats_per_char_windows']:.4f}")
    console.print(table)
    for group in groups:
        console.print(f"\n{len(group['files'])} seeds, {', '.join(group['files'])}: " + "; ".join(
            f"{protocol} {group[protocol]['mean']:.4f} nats/char, standard deviation "
            f"{group[protocol]['standard_deviation']:.4f}, {group[protocol]['lowest']:.4f} to "
            f"{group[protocol]['highest']:.4f}" for protocol in PROTOCOLS), highlight=False)
