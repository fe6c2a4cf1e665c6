"""Program of a device: the words that tell the sequencer what to compute.

``Program`` is the definition, for image compiler, emulated device and performance model; the
gateware takes its constants from here. ``docs/protocol.md`` explains it in prose. Standard library
only.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Self

__all__ = [
    "FLAGS",
    "HEADER_WORDS",
    "OPERATION",
    "OPERATION_WORDS",
    "SCALES",
    "Header",
    "Op",
    "Operation",
    "Program",
    "operation_kinds",
]


class Op(enum.IntEnum):
    """Kind of an operation: what the vector unit does with each finished row.

    Weight words lie in program order, block after block of columns, all rows of a block in order,
    starting at word 0.
    """

    MIX = 0
    """Rows 3i, 3i+1, 3i+2: forget, candidate, gate of channel i; scales in that order."""
    GLU = 1
    """Rows 2i, 2i+1: glu_gate, glu_up of hidden unit i; scales in that order."""
    RESIDUAL = 2
    """Row i is added to channel i; the norm that follows takes x itself, times a tap."""
    RESIDUAL_SHIFT = 3
    """The same; the norm that follows takes the next layer's token shift of x."""
    HEAD = 4
    """Row t is the logit of token t."""

    @property
    def matrices(self) -> int:
        """Number of matrices whose rows take turns."""
        return {Op.MIX: 3, Op.GLU: 2}.get(self, 1)

    @property
    def divided(self) -> int:
        """Number of scales that are divided by a norm's sum, as their matrices take its output."""
        return {Op.MIX: 3, Op.GLU: 2, Op.HEAD: 1}.get(self, 0)


def operation_kinds(n_layers: int) -> list[Op]:
    """Return the kinds of a model's operations, in order: four for each layer, then the head."""
    layer = [Op.MIX, Op.RESIDUAL, Op.GLU, Op.RESIDUAL_SHIFT]
    return [*(layer * n_layers)[:-1], Op.RESIDUAL, Op.HEAD]


class Header(enum.IntEnum):
    """Words at the start of the program."""

    CHANNELS = 0
    """d_model - 1."""
    EMBED_SCALE = 1
    EMBED_BASE = 2
    """First weight word of the embedding, which is also the head's matrix; its low half."""
    EMBED_STRIDE = 3
    """vocab_size: block b of token t is word EMBED_BASE + b * EMBED_STRIDE + t."""
    EMBED_FLAGS = 4
    """An ``OPERATION`` word with the embedding's flags alone: ``short`` of its own words,
    ``after_short`` if the first operation's are."""
    OPS = 5
    """Number of operations - 1."""
    EMBED_BASE_HIGH = 6
    """High half of EMBED_BASE; last, as a device of at most 65,536 weight words skips it."""


HEADER_WORDS = len(Header)

OPERATION: Mapping[str, int] = MappingProxyType(
    {"kind": 3, "short": 1, "after_short": 1, "blocks": 11})
"""Fields of an operation's first word, from bit 0 on, and their widths.

``short``: its weight words are short. ``after_short``: those of the operation that takes its
results are. ``blocks``: weight words of a row - 1.
"""

FLAGS = ("short", "after_short")

SCALES = 3
"""Scales of an operation."""

OPERATION_WORDS = 2 + SCALES
"""``OPERATION``, rows - 1, scales. Unused scales are 0, but that the second one of a RESIDUAL is
the tap of the norm that follows."""

WORD_BITS = 16


def _pack(**values: int) -> int:
    """Return an ``OPERATION`` word."""
    word = offset = 0
    for name, bits in OPERATION.items():
        value = values.get(name, 0)
        if not 0 <= value < 1 << bits:
            raise ValueError(f"{name} of an operation must be 0 to {(1 << bits) - 1:,}, "
                             f"not {value:,}")
        word |= value << offset
        offset += bits
    return word


def _unpack(word: int) -> dict[str, int]:
    """Return the fields of an ``OPERATION`` word."""
    fields = {}
    for name, bits in OPERATION.items():
        fields[name] = word & (1 << bits) - 1
        word >>= bits
    return fields


def _word(name: str, value: int) -> int:
    """Return a word of the program, or raise ``ValueError``."""
    if not 0 <= value < 1 << WORD_BITS:
        raise ValueError(f"{name} must fit a word of {WORD_BITS} bits, not be {value:,}")
    return value


@dataclass(frozen=True, kw_only=True)
class Operation:
    """Pass of the engine: matrices of equal shape whose rows take turns, times a vector.

    Parameters
    ----------
    kind : Op
    rows : int
        Rows of all its matrices.
    blocks : int
        Weight words of a row.
    short : bool
        The weight words are short.
    after_short : bool
        Those of the operation that takes the results are.
    parameters : tuple of int
        Scales of the matrices, and the tap of the norm that follows.
    """

    kind: Op
    rows: int
    blocks: int
    short: bool
    after_short: bool
    parameters: tuple[int, ...]

    @property
    def words(self) -> int:
        """Weight words in all."""
        return self.rows * self.blocks

    def encode(self) -> list[int]:
        """Return the operation's words.

        Raises
        ------
        ValueError
            A number does not fit its field.
        """
        first = _pack(kind=self.kind, blocks=self.blocks - 1, short=self.short,
                      after_short=self.after_short)
        words = [first, _word("rows - 1", self.rows - 1),
                 *(_word("a scale", scale) for scale in self.parameters)]
        if len(words) > OPERATION_WORDS:
            raise ValueError(f"an operation has at most {SCALES} parameters, "
                             f"not {len(self.parameters)}")
        return words + [0] * (OPERATION_WORDS - len(words))

    @classmethod
    def decode(cls, words: Sequence[int]) -> Self:
        """Return the operation of ``OPERATION_WORDS`` words.

        Raises
        ------
        ValueError
            The kind is none.
        """
        first, rows, *parameters = words
        fields = _unpack(first)
        return cls(kind=Op(fields["kind"]), rows=rows + 1, blocks=fields["blocks"] + 1,
                   short=bool(fields["short"]), after_short=bool(fields["after_short"]),
                   parameters=tuple(parameters))


@dataclass(frozen=True, kw_only=True)
class Program:
    """Header and operations of a model.

    Parameters
    ----------
    channels : int
        d_model.
    vocab_size : int
    embed_scale : int
    operations : tuple of Operation
        At least two; the last is the head, whose matrix is the embedding too.
    """

    channels: int
    vocab_size: int
    embed_scale: int
    operations: tuple[Operation, ...]

    @property
    def embed_base(self) -> int:
        """First weight word of the embedding."""
        return sum(operation.words for operation in self.operations[:-1])

    @property
    def words_per_token(self) -> tuple[int, int]:
        """Weight words of a token without logits, and of one with them."""
        return self.embed_base, self.embed_base + self.operations[-1].words

    def encode(self) -> list[int]:
        """Return the program's words: header, then operations.

        Raises
        ------
        ValueError
            A number does not fit its field.
        """
        base = self.embed_base
        flags = _pack(short=self.operations[-1].short, after_short=self.operations[0].short)
        header = {
            Header.CHANNELS: self.channels - 1,
            Header.EMBED_SCALE: self.embed_scale,
            Header.EMBED_BASE: base & 0xFFFF,
            Header.EMBED_STRIDE: self.vocab_size,
            Header.EMBED_FLAGS: flags,
            Header.OPS: len(self.operations) - 1,
            Header.EMBED_BASE_HIGH: base >> WORD_BITS,
        }
        words = [_word(name.name, header[name]) for name in Header]
        for operation in self.operations:
            words += operation.encode()
        return words

    @classmethod
    def decode(cls, words: Sequence[int]) -> Self:
        """Return the program that begins with word 0 of ``words``; what follows is not looked at.

        Raises
        ------
        ValueError
            It ends early, an operation is of no kind, or it contradicts itself.
        """
        count = words[Header.OPS] + 1
        end = HEADER_WORDS + count * OPERATION_WORDS
        if end > len(words):
            raise ValueError(f"a program of {count} operations has {end} words, not the "
                             f"{len(words)} that there are")
        program = cls(
            channels=words[Header.CHANNELS] + 1, vocab_size=words[Header.EMBED_STRIDE],
            embed_scale=words[Header.EMBED_SCALE],
            operations=tuple(Operation.decode(words[start:start + OPERATION_WORDS])
                             for start in range(HEADER_WORDS, end, OPERATION_WORDS)))
        program._check(words)
        return program

    def _check(self, words: Sequence[int]) -> None:
        """Raise ``ValueError`` if the header's words are not what the operations make of them."""
        base = words[Header.EMBED_BASE_HIGH] << WORD_BITS | words[Header.EMBED_BASE]
        if base != self.embed_base:
            raise ValueError(f"the program has the embedding at word {base:,}, and the head at "
                             f"{self.embed_base:,}")
        # The embedding makes the first operation's input, out of words such as the head's.
        flags = _unpack(words[Header.EMBED_FLAGS])
        before = [flags, *({name: getattr(operation, name) for name in FLAGS}
                           for operation in self.operations)]
        if flags["short"] != self.operations[-1].short or any(
                one["after_short"] != after.short
                for one, after in zip(before, self.operations, strict=False)):
            raise ValueError("the program contradicts itself on which weight words are short")
