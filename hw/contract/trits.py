"""The trit code: five ternary weights in a byte that addresses their partial sum.

``PATH`` is a Gray path over half of {-1, 0, +1}^5; a code is a sign bit and an index into it
(see ``docs/number-formats.md``). The engine fills its tables by walking ``PATH`` and the weight
byte is then the table's address, so no decoder exists. Standard library only.
"""

from .numbers import NUMBERS

__all__ = ["CODE_TO_TRITS", "PATH", "STEPS", "TRITS_TO_CODE"]

Trits = tuple[int, ...]


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


PATH, STEPS = _gray_half(NUMBERS.trits_per_byte)
"""The 122 vectors of the path, and the 121 steps between them as (digit, +1 or -1)."""

TRITS_TO_CODE: dict[Trits, int] = {}
for _index, _trits in enumerate(PATH):
    TRITS_TO_CODE[tuple(-t for t in _trits)] = _index | 0x80
    TRITS_TO_CODE[_trits] = _index

CODE_TO_TRITS: dict[int, Trits] = {code: trits for trits, code in TRITS_TO_CODE.items()}
