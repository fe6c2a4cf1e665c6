"""Checkpoint of ``trilight train``: when a training may begin, when and how it goes on."""

from enum import Enum
from pathlib import Path
from shlex import quote

import typer

from trilight.sw.errors import TrainingError

from .console import check_folder

__all__ = ["CHECKPOINT_NAME", "SETTINGS", "check_paths", "refuse_settings", "resume_line"]

CHECKPOINT_NAME = "trilight-training.pt"
SETTINGS = ("network", "synthetic_batch", "batch", "context_", "characters", "minutes",
            "d_model", "layers", "hidden", "seed", "optimizer", "learning_rate", "weight_decay",
            "dropout", "state_reset", "ternary_threshold", "ema", "precision", "compile_")
"""Options that a checkpoint keeps."""


def check_paths(out: Path, saved: Path, *, resume: bool, force: bool) -> None:
    """Refuse before the training what would fail after it, or destroy an earlier one."""
    if out.is_dir():
        raise TrainingError(f"--out must name a file, not the folder {out}")
    if not out.parent.is_dir():
        raise TrainingError(f"the folder of --out, {out.parent}, does not exist; create it first")
    check_folder(out)
    # Its folder is made with the first checkpoint.
    check_folder(next(folder for folder in saved.absolute().parents if folder.is_dir()) / "any")
    if out.exists() and not force:
        raise TrainingError(f"{out} is there already, and a training would write over it; give "
                            "another --out, or add --force")
    if saved.exists() and not resume:
        raise TrainingError(f"{saved} holds an unfinished training; add --resume to go on with "
                            "it, or delete it to start again")


def refuse_settings(context: typer.Context) -> None:
    """Refuse options that a checkpoint has decided already."""
    sources = {name: context.get_parameter_source(name) for name in SETTINGS}
    given = [name for name, source in sources.items()
             if source and source.name not in ("DEFAULT", "DEFAULT_MAP")]
    if given:
        names = ", ".join("--" + name.rstrip("_").replace("_", "-") for name in given)
        raise TrainingError(f"--resume goes on with the settings of the checkpoint; leave out "
                            f"{names}, or train from scratch without --resume")


def resume_line(context: typer.Context) -> str:
    """Return the command that goes on with this training: all options that no checkpoint keeps."""
    words = ["trilight", "train"]
    for option in context.command.params:
        name, source = option.name or "", context.get_parameter_source(option.name or "")
        if name in SETTINGS or name == "resume" or source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[name]
        flag = option.opts[0]
        for each in value if isinstance(value, list | tuple) else [value]:
            words += [flag] if each is True else [
                flag, str(each.value if isinstance(each, Enum) else each)]
    return " ".join(map(quote, [*words, "--resume"]))
