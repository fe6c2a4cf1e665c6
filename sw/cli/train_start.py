"""Model that a training of ``trilight train`` goes on from."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.errors import CheckpointError, TrainingError
from trilight.sw.model.model import Model
from trilight.sw.train.corpus import Corpus
from trilight.sw.train.prune import importance, pruned
from trilight.sw.train.start import model_arrays, real_numbers

from .train_options import NetworkKind

if TYPE_CHECKING:
    from trilight.sw.train.options import Options

__all__ = ["check_start", "load_start", "start_numbers"]


def load_start(path: Path | None, network: NetworkKind) -> Model | None:
    """Load the model of ``--from``.

    Raises
    ------
    TrainingError
        It is none that a training of such a network can go on from.
    """
    if path is None:
        return None
    if network is not NetworkKind.TERNARY:
        raise TrainingError(f"--from goes with --network ternary, not {network.value}: a model "
                            "file has trits, and no real numbers")
    return Model.load(path)


def check_start(options: "Options", base: Model | None) -> None:
    """Refuse to go on from a checkpoint that began with another model.

    Raises
    ------
    CheckpointError
        It did; or with none, or there is none now.
    """
    if options.start_sha256 != (base.sha256 if base else ""):
        raise CheckpointError("the checkpoint was begun with another --from; give the same as "
                              "then, or delete it and train from scratch")


def start_numbers(base: Model, config: ModelConfig, corpus: Corpus, options: "Options"
                  ) -> dict[str, NDArray[np.float32]]:
    """Return what the network of a shape begins with, units that matter least left out."""
    arrays: dict[str, NDArray[Any]] = model_arrays(base)
    if config != base.config:
        arrays = pruned(arrays, base.config, config, importance(base, corpus.train))
    return real_numbers(arrays, options.ternary_threshold)
