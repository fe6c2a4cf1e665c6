"""Recipes: settings of ``trilight train`` in a file, for the memory of a device.

A recipe is a TOML file. ``[train]`` holds options by their names, with underscores;
``[memory]``, if the model is for no board that there is, the fields of ``Device`` that
differ from its defaults; ``about`` says what it is for.
"""

import dataclasses
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from trilight.hw.contract.device import Device, WeightMemory
from trilight.hw.contract.errors import CapacityError
from trilight.sw.errors import TrainingError

from .renamed import RENAMED

__all__ = ["Recipe", "load_recipe", "recipe_names"]

_FOLDER = "trilight.sw.train.recipes"
_SUFFIX = ".toml"
_TABLES = {"about", "memory", "train"}

_MAX = {"max_columns": 256, "max_vocab": 256}
"""Limits of the number formats, whatever the memory: sums of 16 bits, tokens of 8."""

_MAX_UNITS = 1 << 24
"""Limit of all else: 128 MiB of weights."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of a training."""

    name: str
    about: str
    train: Mapping[str, Any]
    """Options of ``trilight train``, by name."""
    memory: Device | None
    """Device that is to hold the model; ``None`` leaves it to ``--board``."""


def recipe_names() -> list[str]:
    """Names of the bundled recipes."""
    return sorted(path.name.removesuffix(_SUFFIX) for path in files(_FOLDER).iterdir()
                  if path.name.endswith(_SUFFIX))


def load_recipe(name: str, options: Collection[str]) -> Recipe:
    """Read a bundled recipe, or a file.

    Parameters
    ----------
    name
        Of ``recipe_names``, or the path of a file that ends with ``.toml``.
    options
        Names that ``[train]`` may hold.

    Raises
    ------
    TrainingError
        There is no such recipe, or it holds what no recipe can.
    """
    path = Path(name) if name.endswith(_SUFFIX) else files(_FOLDER).joinpath(name + _SUFFIX)
    if not path.is_file():
        raise TrainingError(f"there is no recipe {name!r}; there is "
                            f"{', '.join(recipe_names())}, or give a .toml file")
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise TrainingError(f"recipe {name} cannot be read: {error}") from error
    _refuse(name, "", set(found) - _TABLES, _TABLES)
    about, train, memory = found.get("about", ""), found.get("train", {}), found.get("memory")
    if not isinstance(about, str):
        raise TrainingError(f"recipe {name}: about must be a text, not {about!r}")
    for table, entries in (("train", train), ("memory", memory)):
        if entries is not None and not isinstance(entries, dict):
            raise TrainingError(f"recipe {name}: {table} must be a table, [{table}], not "
                                f"{entries!r}")
    _refuse(name, "[train] ", set(train) - set(options), options)
    for key, value in train.items():
        if not all(isinstance(one, str | int | float)
                   for one in (value if isinstance(value, list) else [value])):
            raise TrainingError(f"recipe {name}: [train] has texts and numbers, not {key} = "
                                f"{value!r}")
    if memory is None:
        return Recipe(name=name, about=about, train=train, memory=None)
    fields = {field.name for field in dataclasses.fields(Device) if field.type in (int, str)}
    _refuse(name, "[memory] ", set(memory) - fields, fields)
    wrong = [f"{key} = {value!r}" for key, value in memory.items()
             if not (isinstance(value, str) if key == "name" else
                     type(value) is int and 1 <= value <= _MAX.get(key, _MAX_UNITS))]
    if wrong or "weight_words" not in memory:
        raise TrainingError(f"recipe {name}: [memory] needs positive integers, weight_words at "
                            f"least, not {', '.join(wrong) or 'none'}")
    sizes = {"name": Path(name).name.removesuffix(_SUFFIX), **memory}
    try:
        device = Device(weight_memory=WeightMemory.BLOCK_RAM, **sizes)
    except CapacityError as error:
        raise TrainingError(f"recipe {name}: [memory] of {error}") from error
    return Recipe(name=name, about=about, train=train, memory=device)


def _refuse(name: str, where: str, unknown: set[str], known: Collection[str]) -> None:
    if renamed := sorted(unknown & RENAMED.keys()):
        raise TrainingError(f"recipe {name}: " + "; ".join(
            f"{old} is now called {RENAMED[old]}" for old in renamed))
    if unknown:
        raise TrainingError(f"recipe {name}: {where}may hold {', '.join(sorted(known))}, not "
                            f"{', '.join(sorted(unknown))}")
