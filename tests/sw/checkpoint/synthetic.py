"""Checkpoints made up for tests, and the published forward pass in double precision.

Neither takes anything from the importer: tensors are written by a few lines of their own, and the
forward pass is the formulas of the published code, one line each.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

PROJECTIONS = {"i": "attn.i_proj", "f": "attn.f_proj", "g": "attn.g_proj", "o": "attn.o_proj",
               "gate": "mlp.gate_proj", "down": "mlp.down_proj"}

KINDS = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}

Probe = Callable[[str, np.ndarray, np.ndarray, float, np.ndarray], None]


def round_to(values: np.ndarray, dtype: str) -> np.ndarray:
    """Values as a type holds them, in single precision."""
    values = values.astype(np.float32)
    if dtype == "float16":
        return values.astype(np.float16).astype(np.float32)
    if dtype == "bfloat16":
        return (bfloat16(values).astype(np.uint32) << 16).view(np.float32)
    return values


def bfloat16(values: np.ndarray) -> np.ndarray:
    """Bits of the nearest bfloat16, ties to even."""
    bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def to_bytes(values: np.ndarray, dtype: str) -> bytes:
    if dtype == "bfloat16":
        return bfloat16(values).tobytes()
    return values.astype({"float16": np.float16, "float32": np.float32}[dtype]).tobytes()


def write_safetensors(path: Path, entries: Mapping[str, tuple[str, Sequence[int], bytes]]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (kind, shape, data) in entries.items():
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text
                     + b"".join(data for _, _, data in entries.values()))


@dataclass
class Synthetic:
    """A checkpoint in memory, its tensors in single precision as the file's type holds them."""

    config: dict[str, Any]
    tensors: dict[str, np.ndarray]
    dtype: str
    replaced: dict[str, tuple[str, np.ndarray]] = field(default_factory=dict)
    """Tensors that are written in another type, such as packed ones."""

    @classmethod
    def random(cls, rng: np.random.Generator, *, hidden: int = 64, layers: int = 2,
               inner: int | None = None, vocabulary: int = 100, dtype: str = "float32",
               tied: bool = False, bounds: bool = True, heads: int = 1, epsilon: float = 1e-6,
               spread: float = 0.2, embedding: float = 1.0, zero_rows: int = 0) -> "Synthetic":
        width = inner if inner is not None else 256 * -(-int(hidden * 4 * 2 / 3) // 256)
        t: dict[str, np.ndarray] = {
            "model.embeddings.weight": rng.normal(0, embedding, (vocabulary, hidden)),
            "model.norm.weight": gains(rng, hidden, spread),
            "lm_head.norm.weight": gains(rng, hidden, spread)}
        if not tied:
            t["lm_head.weight"] = rng.normal(0, 0.05, (vocabulary, hidden))
        if bounds:
            t["model.lower_bounds"] = rng.normal(0, 1, (layers, hidden))
        sizes = {"gate": (2 * width, hidden), "down": (hidden, width)}
        for layer in range(layers):
            prefix = f"model.layers.{layer}."
            for name in ("attn_norm", "mlp_norm", "attn.g_norm"):
                t[f"{prefix}{name}.weight"] = gains(rng, hidden, spread)
            for name, place in PROJECTIONS.items():
                rows, columns = sizes.get(name, (hidden, hidden))
                weights = rng.normal(0, rng.uniform(0.5, 1.5) / math.sqrt(columns), (rows, columns))
                weights[:zero_rows] = 0
                t[f"{prefix}{place}.weight"] = weights
                t[f"{prefix}{place}.norm.weight"] = gains(rng, columns, spread)
        config = {
            "architectures": ["HGRNBitForCausalLM"], "model_type": "hgrn_bit",
            "hidden_size": hidden,
            "num_hidden_layers": layers, "intermediate_size": inner, "hidden_ratio": 4,
            "num_heads": heads, "expand_ratio": 1, "vocab_size": vocabulary, "hidden_act": "swish",
            "rms_norm_eps": epsilon, "tie_word_embeddings": tied, "use_lower_bound": bounds,
            "use_short_conv": False, "torch_dtype": dtype, "bos_token_id": 1, "eos_token_id": 2}
        return cls(config, {name: round_to(value, dtype) for name, value in t.items()}, dtype)

    def write(self, folder: Path, shards: int = 1) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.config))
        entries = {name: (KINDS[self.dtype], value.shape, to_bytes(value, self.dtype))
                   for name, value in self.tensors.items() if name not in self.replaced}
        entries |= {name: (kind, value.shape, value.tobytes())
                    for name, (kind, value) in self.replaced.items()}
        if shards == 1:
            write_safetensors(folder / "model.safetensors", entries)
            return folder
        names = list(entries)
        where = {}
        for shard in range(shards):
            file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
            part = names[shard::shards]
            write_safetensors(folder / file, {name: entries[name] for name in part})
            where |= dict.fromkeys(part, file)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
        return folder


def gains(rng: np.random.Generator, n: int, spread: float) -> np.ndarray:
    return 1 + rng.normal(0, spread, n)


def rms(x: np.ndarray, gain: np.ndarray, epsilon: float) -> np.ndarray:
    return x / np.sqrt((x * x).mean() + epsilon) * gain


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


class FloatModel:
    """The published forward pass, float64 but for the ternarisation."""

    def __init__(self, made: Synthetic) -> None:
        c = made.config
        self.t = {name: value.astype(np.float64) for name, value in made.tensors.items()}
        self.layers, self.epsilon = c["num_hidden_layers"], c["rms_norm_eps"]
        self.ternary: dict[str, tuple[np.ndarray, float]] = {}
        for name, value in made.tensors.items():
            if "proj.weight" in name or name == "lm_head.weight" or (
                    c["tie_word_embeddings"] and name == "model.embeddings.weight"):
                self.ternary[name] = weight_quant(value)
        if c["tie_word_embeddings"]:
            self.ternary["lm_head.weight"] = self.ternary["model.embeddings.weight"]
        self.bounds = None
        if c["use_lower_bound"]:
            e = np.exp(self.t["model.lower_bounds"] - self.t["model.lower_bounds"].max(0))
            total = np.cumsum(e / e.sum(0), 0)
            self.bounds = total - total[0]
        self.probe: Probe | None = None
        self.reset()

    def reset(self) -> None:
        self.state = np.zeros((self.layers, self.t["model.embeddings.weight"].shape[1]))

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        codes, scale = self.ternary[f"{name}.weight"]
        y = rms(x, self.t[f"{name}.norm.weight"], 1e-6)
        factor = 127 / max(np.abs(y).max(), 1e-5)
        q = np.clip(np.sign(y) * np.floor(np.abs(y * factor) + 0.5), -128, 127)
        out = (codes @ q) / factor * scale
        if self.probe is not None:
            self.probe(name, x, q, scale / factor, out)
        return out

    def step(self, token: int) -> np.ndarray:
        h = self.t["model.embeddings.weight"][token]
        for n in range(self.layers):
            p = f"model.layers.{n}."
            x = rms(h, self.t[p + "attn_norm.weight"], self.epsilon)
            i, f = self.linear(p + "attn.i_proj", x), sigmoid(self.linear(p + "attn.f_proj", x))
            if self.bounds is not None and n > 0:
                f = self.bounds[n] + (1 - self.bounds[n]) * f
            self.state[n] = f * self.state[n] + i * sigmoid(i) * (1 - f)
            s = self.state[n]
            g = self.linear(p + "attn.g_proj", x)
            o = rms(g, self.t[p + "attn.g_norm.weight"], self.epsilon) * s * sigmoid(s)
            h = h + self.linear(p + "attn.o_proj", o)
            x = rms(h, self.t[p + "mlp_norm.weight"], self.epsilon)
            gate, up = np.split(self.linear(p + "mlp.gate_proj", x), 2)
            h = h + self.linear(p + "mlp.down_proj", gate * sigmoid(gate) * up)
        return self.linear("lm_head", rms(h, self.t["model.norm.weight"], self.epsilon))

    def feed(self, tokens: Sequence[int]) -> np.ndarray:
        self.reset()
        return np.stack([self.step(token) for token in tokens])


def weight_quant(w: np.ndarray) -> tuple[np.ndarray, float]:
    mean = np.float32(max(np.float32(np.abs(w).mean(dtype=np.float64)), np.float32(1e-5)))
    scale = np.float32(1) / mean
    return np.clip(np.rint(w * scale), -1, 1).astype(np.float64), float(np.float32(1) / scale)
