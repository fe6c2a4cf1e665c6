"""``config.json`` of a checkpoint: which model it is, and whether it can be run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trilight.sw.errors import CheckpointError

from .shape import Shape

__all__ = ["ARCHITECTURE", "CheckpointConfig", "read_config", "read_json"]

ARCHITECTURE = "HGRNBitForCausalLM"
MODEL_TYPE = "hgrn_bit"
_MAX_BYTES = 8 << 20
"""Size of a JSON file, at most, so that what it becomes in memory is bounded too."""

_KNOWN = {
    "bitnet": "a BitNet transformer",
    "llama": "a LLaMA transformer",
    "mistral": "a Mistral transformer",
    "hgrn": "an HGRN with full-precision weights",
    "mamba": "a Mamba",
    "rwkv": "an RWKV",
}


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """Configuration that a checkpoint states.

    Attributes
    ----------
    shape : Shape
    epsilon : float
        Of the block norms. The norm of a BitLinear layer always takes 1e-6.
    tied : bool
        Whether the head's latent weights are the embedding.
    lower_bounds : bool
        Whether forget gates have a learned lower bound.
    heads : int
        A reshaping only; without influence on the result.
    packing : str or None
        ``linear_class`` of packed weights: ``bitlinear`` or ``autobitlinear``.
    dtype : str
        What the file says of its numbers, for display.
    """

    shape: Shape
    epsilon: float
    tied: bool
    lower_bounds: bool
    heads: int
    packing: str | None
    dtype: str

    @classmethod
    def from_json(cls, config: Mapping[str, Any]) -> "CheckpointConfig":
        """Check a configuration.

        Raises
        ------
        CheckpointError
            It is of another architecture, asks for what the published code cannot run, or
            contradicts itself.
        """
        _check_architecture(config)
        _check_options(config)
        hidden = _integer(config, "hidden_size")
        heads = _integer(config, "num_heads", 1)
        if hidden % heads:
            raise CheckpointError(f"config.json: num_heads is {heads}, which does not divide "
                                  f"hidden_size {hidden}; the file is damaged or edited")
        shape = Shape(layers=_integer(config, "num_hidden_layers"), hidden=hidden,
                      inner=_inner(config, hidden), vocabulary=_integer(config, "vocab_size"))
        epsilon = config.get("rms_norm_eps", 1e-6)
        if not isinstance(epsilon, int | float) or not 0 <= epsilon <= 1:
            raise CheckpointError(f"config.json: rms_norm_eps must be a number from 0 to 1, "
                                  f"not {epsilon!r}")
        return cls(shape=shape, epsilon=float(epsilon),
                   tied=_flag(config, "tie_word_embeddings", False),
                   lower_bounds=_flag(config, "use_lower_bound", True), heads=heads,
                   packing=_packing(config.get("quantization_config")),
                   dtype=str(config.get("torch_dtype", config.get("dtype", "not said"))))


def read_config(folder: Path) -> CheckpointConfig:
    """Read and check ``config.json`` of a folder.

    Raises
    ------
    CheckpointError
        It is missing, is no JSON, or ``CheckpointConfig.from_json`` refuses it.
    """
    return CheckpointConfig.from_json(read_json(folder / "config.json"))


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that holds a JSON object.

    Raises
    ------
    CheckpointError
        It cannot be read, or holds something else.
    """
    try:
        if path.exists() and not path.is_file():
            raise CheckpointError(f"{path} is no file; give a checkpoint's folder as it is "
                                  "published")
        if path.exists() and path.stat().st_size > _MAX_BYTES:
            raise CheckpointError(f"{path} has {path.stat().st_size:,} bytes, which no published "
                                  "checkpoint's has; download it again")
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}; give a checkpoint's "
                              "folder as it is published, with config.json and the weights"
                              ) from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is no JSON: {error}; download it again") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} must hold a JSON object, not {type(value).__name__}; "
                              "download it again")
    return value


def _check_architecture(config: Mapping[str, Any]) -> None:
    named = config.get("architectures")
    name = named[0] if isinstance(named, list) and named else None
    kind = config.get("model_type")
    if name == ARCHITECTURE or (name is None and kind == MODEL_TYPE):
        return
    text = f"{name} {kind}".lower()
    what = next((words for key, words in _KNOWN.items() if key in text), "another architecture")
    raise CheckpointError(
        f"config.json is of {name or kind or 'no named architecture'}, {what}; only "
        f"{ARCHITECTURE} (ridger/MMfreeLM-*) is a MatMul-free model that can be run here")


def _check_options(config: Mapping[str, Any]) -> None:
    if _flag(config, "use_short_conv", False):
        raise CheckpointError("config.json: use_short_conv is true, which the published code "
                              "cannot run (its convolution is called with too many arguments) and "
                              "no published model has; take a checkpoint without it")
    ratio = config.get("expand_ratio", 1)
    if ratio not in (1, None):
        raise CheckpointError(f"config.json: expand_ratio must be 1, not {ratio!r}; the recurrent "
                              "state must be as wide as the residual stream")
    activation = config.get("hidden_act", "swish")
    if activation not in ("swish", "silu"):
        raise CheckpointError(f"config.json: hidden_act must be swish, not {activation!r}")


def _inner(config: Mapping[str, Any], hidden: int) -> int:
    """Width of the gated linear unit; null means the published code's own choice."""
    if config.get("intermediate_size") is not None:
        return _integer(config, "intermediate_size")
    ratio = config.get("hidden_ratio")
    ratio = 4 if ratio is None else ratio
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio < 1e6:
        raise CheckpointError(f"config.json: hidden_ratio must be a positive number, not {ratio!r}")
    return 256 * -(-int(hidden * ratio * 2 / 3) // 256)


def _integer(config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = config.get(key, default)
    if value is None and default is not None:
        value = default
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 31:
        raise CheckpointError(f"config.json: {key} must be a positive integer, "
                              + (f"not {value!r}" if key in config else "and is missing"))
    return value


def _flag(config: Mapping[str, Any], key: str, default: bool) -> bool:
    value = config.get(key, default)
    if not isinstance(value, bool):
        raise CheckpointError(f"config.json: {key} must be true or false, not {value!r}")
    return value


def _packing(value: Any) -> str | None:
    """``linear_class`` of a quantization configuration: it decides which way the scale works."""
    if value is None:
        return None
    method = value.get("quant_method") if isinstance(value, dict) else value
    if method != "bitnet" or not isinstance(value, dict):
        raise CheckpointError(f"config.json: quantization method {method!r} is unknown; packed "
                              "weights must be of the method 'bitnet'")
    found = value.get("linear_class", "bitlinear")
    if found not in ("bitlinear", "autobitlinear"):
        raise CheckpointError(f"config.json: linear_class {found!r} is unknown, and with it which "
                              "way the weights' scale works; it must be bitlinear or autobitlinear")
    if value.get("quantization_mode", "offline") == "online":
        return None
    return str(found)
