"""A checkpoint's folder as ternary matrices, gains, lower bounds and embedding.

Names and forward pass are those of ridgerchu/matmulfreellm (commit a016f72, Apache-2.0);
``docs/imported-formats.md`` writes both down.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trilight.sw.errors import CheckpointError

from .config import read_config
from .containers import BLOCKS, decode_i2_s, decode_two_bit_rows
from .gguf import PACKED, open_gguf
from .shape import Shape
from .tensors import FLOATS, StoredTensor, read_folder

__all__ = ["Checkpoint", "TernaryMatrix", "ternarise"]

_SMALLEST_MEAN = np.float32(1e-5)
_ROWS_AT_A_TIME = 1 << 22
"""Weights that are converted at a time, in rows: what bounds the memory of an import."""

_PLACES = {"i": "attn.i_proj", "f": "attn.f_proj", "g": "attn.g_proj", "o": "attn.o_proj",
           "gate": "mlp.gate_proj", "down": "mlp.down_proj"}
_LAYER_NORMS = {"attn_norm": "attn_norm", "g_norm": "attn.g_norm", "mlp_norm": "mlp_norm"}


@dataclass(frozen=True, eq=False)
class TernaryMatrix:
    """A BitLinear layer's weights.

    Attributes
    ----------
    codes : int8 array [rows, columns]
        -1, 0 and +1.
    scale : float
        What a code stands for, in single precision.
    """

    codes: NDArray[np.int8]
    scale: float


def _chunks(rows: int, columns: int) -> Iterator[slice]:
    step = max(1, _ROWS_AT_A_TIME // columns)
    for first in range(0, rows, step):
        yield slice(first, min(first + step, rows))


def ternarise(tensor: StoredTensor) -> TernaryMatrix:
    """Ternary codes of latent weights, as ``weight_quant`` of the published code makes them.

    ``codes = clip(round(w * s), -1, 1)`` with ``s = 1 / max(mean|w|, 1e-5)``, all in single
    precision; ties round to even. The mean is summed in double precision and then rounded, since
    the order of a sum in single precision is a library's own.
    """
    rows, columns = tensor.shape
    total = sum(float(np.abs(tensor.floats(part.start, part.stop)).sum(dtype=np.float64))
                for part in _chunks(rows, columns))
    inverse = np.float32(1) / np.maximum(np.float32(total / (rows * columns)), _SMALLEST_MEAN)
    codes = np.empty((rows, columns), np.int8)
    for part in _chunks(rows, columns):
        codes[part] = np.clip(np.rint(tensor.floats(part.start, part.stop) * inverse), -1, 1)
    return TernaryMatrix(codes, float(np.float32(1) / inverse))


def refuse_links(folder: Path) -> None:
    """Refuse a folder with links to files elsewhere, which might be anything of the user's.

    In the cache of huggingface_hub the files of ``snapshots/REVISION`` are links to ``blobs``.

    Raises
    ------
    CheckpointError
        There is one.
    """
    real = folder.resolve()
    allowed = [real]
    if real.parent.name == "snapshots":
        allowed.append(real.parent.parent / "blobs")
    for path in sorted(folder.iterdir()):
        if path.is_symlink() and not any(path.resolve().is_relative_to(place)
                                         for place in allowed):
            raise CheckpointError(f"{path} is a link to {path.resolve()}, outside the checkpoint; "
                                  "copy the file into the folder")


class Checkpoint:
    """A checkpoint, checked: every tensor is there, of its shape, and no other.

    Weights are read when they are asked for, so a large one takes little memory.

    Parameters
    ----------
    folder : path
        With ``config.json`` and the weights: safetensors in one file or several, or one GGUF file
        whose tensors have the published names.

    Attributes
    ----------
    config : CheckpointConfig
    container : str
        How the ternary weights are stored, for display.

    Raises
    ------
    CheckpointError
        The folder is no checkpoint that can be run; the text says why.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise CheckpointError(f"{folder} is no folder; give the folder of a checkpoint, with "
                                  "config.json and the weights")
        refuse_links(folder)
        self.folder = folder
        self.config = read_config(folder)
        self._tensors = _read_any(folder)
        self._check()
        kinds = {self._tensors[name].kind for name in self._matrix_names()}
        self.container = ", ".join(sorted(kinds))

    @property
    def shape(self) -> Shape:
        return self.config.shape

    def matrix(self, name: str, layer: int | None = None) -> TernaryMatrix:
        """A layer's matrix, or without a layer the head."""
        tensor = self._tensors[self._weight_name(name, layer)]
        if tensor.kind in FLOATS:
            return ternarise(tensor)
        return self._unpack(tensor, *self.shape.matrix(name))

    def gain(self, name: str, layer: int | None = None) -> NDArray[np.float32]:
        """Gain of the norm before a matrix, of a norm of a layer, or of the last norm."""
        if layer is None:
            names = {"head": "lm_head.norm.weight", "norm": "model.norm.weight"}
            return self._tensors[names[name]].floats()
        place = _LAYER_NORMS.get(name) or f"{_PLACES[name]}.norm"
        return self._tensors[f"model.layers.{layer}.{place}.weight"].floats()

    def embedding(self) -> Iterator[NDArray[np.float32]]:
        """The embedding, some rows at a time."""
        tensor = self._tensors["model.embeddings.weight"]
        for part in _chunks(*tensor.shape):
            yield tensor.floats(part.start, part.stop)

    def lower_bounds(self) -> NDArray[np.float64] | None:
        """Lower bounds of the forget gates [layers, hidden], of which the first is 0."""
        if not self.config.lower_bounds:
            return None
        latent = self._tensors["model.lower_bounds"].floats().astype(np.float64)
        shares = np.exp(latent - latent.max(axis=0))
        summed = np.cumsum(shares / shares.sum(axis=0), axis=0)
        bounds: NDArray[np.float64] = summed - summed[0]
        return bounds

    def _weight_name(self, name: str, layer: int | None) -> str:
        if layer is not None:
            return f"model.layers.{layer}.{_PLACES[name]}.weight"
        return "model.embeddings.weight" if self.config.tied else "lm_head.weight"

    def _matrix_names(self) -> list[str]:
        names = [self._weight_name(name, layer)
                 for layer in range(self.shape.layers) for name in _PLACES]
        return [*names, self._weight_name("head", None)]

    def _expected(self) -> dict[str, tuple[int, ...]]:
        """Shape of each tensor by name, before packing."""
        shape, h = self.shape, self.shape.hidden
        expected: dict[str, tuple[int, ...]] = {
            "model.embeddings.weight": (shape.vocabulary, h),
            "model.norm.weight": (h,), "lm_head.norm.weight": (h,)}
        if not self.config.tied:
            expected["lm_head.weight"] = (shape.vocabulary, h)
        if self.config.lower_bounds:
            expected["model.lower_bounds"] = (shape.layers, h)
        for layer in range(shape.layers):
            prefix = f"model.layers.{layer}."
            expected |= {f"{prefix}{place}.weight": (h,) for place in _LAYER_NORMS.values()}
            for name, place in _PLACES.items():
                expected[f"{prefix}{place}.weight"] = shape.matrix(name)
                expected[f"{prefix}{place}.norm.weight"] = shape.matrix(name)[1:]
        return expected

    def _check(self) -> None:
        if len(self._tensors) < self.shape.layers:
            # Said before names are made for as many layers as a damaged file asks for.
            raise CheckpointError(f"{self.folder} has {len(self._tensors)} tensors, too few for "
                                  f"the {self.shape.layers:,} layers of config.json")
        expected = self._expected()
        packed = {f"{name}_scale" for name in expected if f"{name}_scale" in self._tensors}
        present = set(self._tensors) - packed
        if self.config.tied and "lm_head.weight" in present:
            present.discard("lm_head.weight")
            self._check_tied_head()
        if missing := sorted(set(expected) - present):
            raise CheckpointError(f"tensor {missing[0]} is missing"
                                  + (f", as are {len(missing) - 1} more" if missing[1:] else "")
                                  + f" from {self.folder}; config.json promises it, so the files "
                                    "are incomplete or of another checkpoint")
        if surplus := sorted(present - set(expected)):
            raise CheckpointError(f"tensor {surplus[0]} is in {self._tensors[surplus[0]].file} and "
                                  "no part of a model with this config.json; it would be ignored, "
                                  "so the config or the file is of another checkpoint")
        for name, shape in expected.items():
            self._check_tensor(self._tensors[name], shape)

    def _check_tied_head(self) -> None:
        """A tied head may be written out, if it is the embedding."""
        head, embedding = self._tensors["lm_head.weight"], self._tensors["model.embeddings.weight"]
        same = (head.kind, head.shape) == (embedding.kind, embedding.shape) and np.array_equal(
            head.data, embedding.data)
        if not same:
            raise CheckpointError("config.json says that head and embedding are tied, but "
                                  "lm_head.weight differs from model.embeddings.weight; set "
                                  "tie_word_embeddings to false if the head is its own")

    def _check_tensor(self, tensor: StoredTensor, shape: tuple[int, ...]) -> None:
        stored = shape
        if tensor.kind in ("U8", "I8") and len(shape) == 2:
            if self.config.packing is None:
                raise CheckpointError(f"tensor {tensor.name} is packed ({tensor.kind}), but "
                                      "config.json has no quantization_config that says how; its "
                                      "packing is unknown, take the config that belongs to it")
            stored = (-(-shape[0] // 4), shape[1])
            if f"{tensor.name}_scale" not in self._tensors:
                raise CheckpointError(f"tensor {tensor.name} is packed, but {tensor.name}_scale is "
                                      "missing; the files are incomplete")
        elif tensor.kind not in (*FLOATS, *PACKED) or (tensor.kind in PACKED and len(shape) != 2):
            raise CheckpointError(f"tensor {tensor.name} in {tensor.file} is of type "
                                  f"{tensor.kind}; it must be F32, F16 or BF16, or packed ternary "
                                  "weights")
        if tensor.shape != stored:
            raise CheckpointError(f"tensor {tensor.name} must have shape {list(stored)} by "
                                  f"config.json, not {list(tensor.shape)}; config and weights are "
                                  "of different checkpoints")
        if tensor.name == "model.embeddings.weight" and tensor.kind not in FLOATS:
            raise CheckpointError(f"tensor {tensor.name} is packed as {tensor.kind}; the embedding "
                                  "is not ternary and must be F32, F16 or BF16")

    def _unpack(self, tensor: StoredTensor, rows: int, columns: int) -> TernaryMatrix:
        try:
            if tensor.kind in ("U8", "I8"):
                codes = decode_two_bit_rows(tensor.integers("<u1"), rows)
                scales = self._hugging_face_scale(self._tensors[f"{tensor.name}_scale"])
            elif tensor.kind == "I2_S":
                codes, scales = decode_i2_s(tensor.data, rows, columns)
            else:
                codes, scales = BLOCKS[tensor.kind].decode(tensor.data, rows, columns)
        except CheckpointError as error:
            raise CheckpointError(f"tensor {tensor.name} in {tensor.file}: {error}") from error
        return TernaryMatrix(codes, _one_scale(tensor, codes, scales))

    def _hugging_face_scale(self, tensor: StoredTensor) -> NDArray[np.float32]:
        """Magnitude of a code: the class ``bitlinear`` divides by its scale."""
        if tensor.kind not in FLOATS or tensor.data.size == 0:
            raise CheckpointError(f"its scale {tensor.name} must be a number, not {tensor.kind} "
                                  f"{list(tensor.shape)}")
        values = tensor.floats().reshape(1, -1)
        if self.config.packing == "bitlinear":
            if (values == 0).any():
                raise CheckpointError(f"its scale {tensor.name} is 0, and weights are divided by "
                                      "it")
            return np.float32(1) / values
        return values


def _one_scale(tensor: StoredTensor, codes: NDArray[np.int8],
               scales: NDArray[np.float32]) -> float:
    """The scale of a matrix, which blocks with a weight other than 0 must share."""
    used = scales
    if scales.shape[0] == codes.shape[0] and scales.size > 1:
        blocks = codes.reshape(*scales.shape, -1)
        used = scales[(blocks != 0).any(axis=2)]
    values = np.unique(used)
    if len(values) > 1:
        raise CheckpointError(f"tensor {tensor.name} in {tensor.file} has {len(values)} different "
                              f"scales, {values[0]:.6g} to {values[-1]:.6g}; a BitLinear layer has "
                              "one, so these weights were not ternary before they were packed")
    scale = float(values[0]) if len(values) else float(_SMALLEST_MEAN)
    if not 0 < scale < np.inf:
        raise CheckpointError(f"tensor {tensor.name} in {tensor.file} has the scale {scale}; it "
                              "must be positive")
    return scale


def _read_any(folder: Path) -> Mapping[str, StoredTensor]:
    """Tensors of a folder's safetensors files, or of its GGUF file."""
    packed = sorted(folder.glob("*.gguf"))
    if not packed:
        return read_folder(folder)
    if len(packed) > 1 or any(folder.glob("*.safetensors")):
        raise CheckpointError(f"{folder} has {packed[0].name} and other weights; leave one form "
                              "of the checkpoint in it")
    found = open_gguf(packed[0])
    name = found.metadata.get("general.architecture", "")
    if name not in ("hgrn_bit", "hgrnbit", ""):
        raise CheckpointError(f"{packed[0].name} is of the architecture {name!r}; only hgrn_bit, "
                              "the MatMul-free language model, can be run here")
    return found.tensors
