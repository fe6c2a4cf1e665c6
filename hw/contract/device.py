"""Capacity of a build. Standard library only."""

from dataclasses import dataclass

__all__ = ["UP5K", "DeviceConfig"]


@dataclass(frozen=True, kw_only=True)
class DeviceConfig:
    """What a build can hold. Every limit is a memory's depth."""

    name: str
    weight_words: int
    """Depth of the weight memory, in words of 64 bits (40 trits)."""
    max_rows: int = 512
    """Rows of one operation: 3 d_model, 2 d_hidden, vocab_size."""
    max_columns: int = 256
    """Columns of one operation; with int8 activations sums then fit 16 bits."""
    max_channels: int = 512
    """d_model * n_layers: the recurrent state of one sequence."""
    sequences: int = 2
    """Texts that can be worked on at once."""
    min_rows: int = 16
    """Below this a partial sum would be read before it is written."""
    program_words: int = 256
    """Program and output bias together."""
    tape_tokens: int = 256
    """Tokens the device remembers, prompt and generated."""
    max_vocab: int = 256


UP5K = DeviceConfig(name="up5k", weight_words=16384)
