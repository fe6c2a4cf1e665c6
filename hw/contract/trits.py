"""Trit codes: ternary weights as the addresses of their partial sums.

A code is a sign bit above an index into a Gray path over half of {-1, 0, +1}^n (see
``docs/number-formats.md``). The engine fills its tables by walking the path, and a code from memory
is then the table's address, so no decoder exists. Standard library only.
"""

from dataclasses import dataclass
from functools import cache, cached_property

__all__ = ["FILE_CODE", "Packing", "TritCode"]

Trits = tuple[int, ...]


@dataclass(frozen=True)
class TritCode:
    """Code of a number of trits.

    Codes of fewer trits come first on the path, so that a code of five whose last trit is 0 is a
    code of four as well.

    Parameters
    ----------
    trits : int
        Trits of a code.
    """

    trits: int

    @property
    def entries(self) -> int:
        """Sums in a table of partial sums; the others are their negatives."""
        return (3**self.trits + 1) // 2

    @property
    def index_bits(self) -> int:
        """Width of an index into the path."""
        return (self.entries - 1).bit_length()

    @property
    def bits(self) -> int:
        """Width of a code: a sign above an index."""
        return self.index_bits + 1

    @property
    def sign(self) -> int:
        """The sign bit, as a number."""
        return 1 << self.index_bits

    @property
    def path(self) -> tuple[Trits, ...]:
        """The vector of trits of each index."""
        return _gray_half(self.trits)[0]

    @property
    def steps(self) -> tuple[tuple[int, int], ...]:
        """Digit and direction, +1 or -1, of each step from an index to the next."""
        return _gray_half(self.trits)[1]

    @cached_property
    def to_trits(self) -> dict[int, Trits]:
        """Trits of each code that is used."""
        return {code: trits for trits, code in self.to_code.items()}

    @cached_property
    def to_code(self) -> dict[Trits, int]:
        """Code of each vector of trits."""
        codes = {tuple(-t for t in trits): index | self.sign
                 for index, trits in enumerate(self.path)}
        return codes | {trits: index for index, trits in enumerate(self.path)}


FILE_CODE = TritCode(5)
"""Code of model files: five trits in a byte."""


@dataclass(frozen=True)
class Packing:
    """Packing of trit codes into weight words.

    Parameters
    ----------
    lanes : int
        Codes in a word; the engine looks all of them up at once.
    trits : int
        Trits of a code.
    """

    lanes: int
    trits: int

    @property
    def code(self) -> TritCode:
        """Code of a lane."""
        return TritCode(self.trits)

    @property
    def short_trits(self) -> int:
        """Trits of a code in a short word, whose table fills in a third of the time.

        Tables of three trits fill in 14 cycles, so there is nothing to gain: as many as in any
        other word.
        """
        return 4 if self.trits == 5 else self.trits

    @property
    def block(self) -> int:
        """Columns of a matrix that one word covers."""
        return self.trits * self.lanes

    @property
    def word_bits(self) -> int:
        """Width of a word."""
        return self.lanes * self.code.bits

    @property
    def fills_units(self) -> bool:
        """Codes fill the 16-bit units of the host: none lies in two."""
        return 16 % self.code.bits == 0

    @property
    def word_units(self) -> int:
        """16-bit units that a word takes in the host's address space, a power of two.

        Bits past ``word_bits`` do not exist: they read as 0.
        """
        return 1 << (-(-self.word_bits // 16) - 1).bit_length()


@cache
def _gray_half(n: int) -> tuple[tuple[Trits, ...], tuple[tuple[int, int], ...]]:
    """Path of (3**n + 1) / 2 vectors and the (digit, direction) of each step along it."""
    here = [0] * n
    path: list[Trits] = [tuple(here)]
    steps: list[tuple[int, int]] = []

    def move(digit: int, direction: int) -> None:
        here[digit] += direction
        path.append(tuple(here))
        steps.append((digit, direction))

    def sweep(digits: int) -> None:
        if digits == 0:
            return
        top = digits - 1
        direction = -1 if here[top] == 1 else 1
        sweep(top)
        for _ in range(2):
            move(top, direction)
            sweep(top)

    for digit in range(n):
        move(digit, 1)
        sweep(digit)
    return tuple(path), tuple(steps)
