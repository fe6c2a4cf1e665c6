"""Files of networks in floating point: teachers and what is compared. Needs PyTorch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.support.files import write_whole
from trilight.sw.errors import ModelFileError
from trilight.sw.model.provenance import current_names

from .float_network import FloatNetwork, Transformer
from .network import State

__all__ = ["FORMAT", "KINDS", "FloatModel", "FloatPredictor"]

FORMAT = "trilight-float-network"
_VERSION = "1"

KINDS: dict[str, type[FloatNetwork | Transformer]] = {
    "float": FloatNetwork, "transformer": Transformer}
"""Networks in floating point, by name."""


@dataclass(frozen=True, eq=False)
class FloatModel:
    """A trained network in floating point."""

    kind: str
    """One of ``KINDS``."""
    network: FloatNetwork | Transformer
    vocab: tuple[str, ...]
    """Character of each token."""
    provenance: Mapping[str, Any]
    """Origin of the model."""

    @property
    def sha256(self) -> str:
        """Digest of the weights and the vocabulary."""
        found = sha256(repr((self.kind, self.network.config, self.vocab)).encode())
        for name, value in sorted(self.network.state_dict().items()):
            found.update(name.encode())
            found.update(value.float().cpu().numpy().tobytes())
        return found.hexdigest()

    def save(self, path: str | PathLike[str]) -> None:
        """Write the file.

        Raises
        ------
        OSError
            It cannot be written.
        """
        metadata = {
            "format": FORMAT, "version": _VERSION, "kind": self.kind,
            "config": json.dumps(self.network.config.to_dict()),
            "vocab": json.dumps(self.vocab), "provenance": json.dumps(dict(self.provenance)),
        }
        weights = {name: value.contiguous().cpu()
                   for name, value in self.network.state_dict().items()}
        write_whole(path, save(weights, metadata))

    @classmethod
    def load(cls, path: str | PathLike[str], *, device: str = "cpu") -> "FloatModel":
        """Read a file.

        Raises
        ------
        ModelFileError
            It is missing, damaged, of another version or something else.
        """
        path = Path(path)
        if not path.is_file():
            raise ModelFileError(f"there is no file {path}; "
                                 "trilight train --network float makes one")
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                # The file is no mapping: it can not be iterated over without ``keys``.
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
        except (OSError, SafetensorError) as error:
            raise ModelFileError(f"{path} is damaged or no safetensors file ({error}); "
                                 "make it again") from error
        found = metadata.get("format"), metadata.get("version")
        if found != (FORMAT, _VERSION):
            raise ModelFileError(f"{path} must be of format {FORMAT!r} version {_VERSION}, not "
                                 f"{found[0]!r} version {found[1]}; trilight train --network "
                                 "float makes such a file")
        try:
            network = KINDS[metadata["kind"]](
                ModelConfig(**json.loads(metadata["config"])), bf16=False)
            network.load_state_dict(weights)
            return cls(metadata["kind"], network.to(device).eval(),
                       tuple(json.loads(metadata["vocab"])),
                       current_names(json.loads(metadata["provenance"])))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelFileError(f"{path} is damaged: {error}; make it again") from error


class FloatPredictor:
    """A ``trilight.sw.quality.evaluate.Predictor`` of a network with a state.

    Parameters
    ----------
    model
        Of the kind ``float``.
    batch_size
        Independent sequences.
    """

    def __init__(self, model: FloatModel, batch_size: int) -> None:
        if model.kind != "float":
            raise ModelFileError(f"a network of the kind {model.kind!r} predicts whole windows "
                                 "only; give one of the kind 'float'")
        self._network = model.network
        self._state: State = model.network.start(batch_size)

    @torch.no_grad()
    def step(self, tokens: NDArray[np.int64], /) -> NDArray[np.float64]:
        """Feed a token to each sequence; return log-probabilities [batch_size, V] of the next."""
        logits, self._state = self._network(torch.from_numpy(tokens)[None], self._state)
        values: NDArray[np.float64] = logits[0].double().log_softmax(-1).cpu().numpy()
        return values
