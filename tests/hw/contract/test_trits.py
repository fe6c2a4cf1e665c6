"""The trit code, from its defining properties."""

from itertools import pairwise, product

import numpy as np
import pytest

from trilight.hw.contract.trits import CODE_TO_TRITS, PATH, STEPS, TRITS_TO_CODE
from trilight.sw.errors import ModelError
from trilight.sw.model.model import pack_trits, unpack_trits

ALL = set(product((-1, 0, 1), repeat=5))


def negated(trits: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(-t for t in trits)


def test_path_is_half_of_all_combinations() -> None:
    assert len(PATH) == len(set(PATH)) == (3**5 + 1) // 2
    assert PATH[0] == (0,) * 5
    assert set(PATH) | {negated(trits) for trits in PATH} == ALL
    assert set(PATH) & {negated(trits) for trits in PATH} == {PATH[0]}


def test_path_changes_one_trit_by_one() -> None:
    assert len(STEPS) == len(PATH) - 1
    for (before, after), (digit, direction) in zip(pairwise(PATH), STEPS, strict=True):
        change = [b - a for a, b in zip(before, after, strict=True)]
        assert change == [direction if i == digit else 0 for i in range(5)]
        assert abs(direction) == 1


@pytest.mark.parametrize("digits", range(6))
def test_path_begins_with_the_path_of_fewer_trits(digits: int) -> None:
    half = (3**digits + 1) // 2
    assert not any(any(trits[digits:]) for trits in PATH[:half])
    assert all(any(trits[digits:]) for trits in PATH[half:])


def test_codes_are_sign_and_index() -> None:
    assert set(TRITS_TO_CODE) == ALL
    assert set(CODE_TO_TRITS) == {*range(122), *range(129, 250)}
    for code, trits in CODE_TO_TRITS.items():
        assert TRITS_TO_CODE[trits] == code
        positive = PATH[code & 0x7F]
        assert trits == (negated(positive) if code & 0x80 else positive)


def test_first_trit_is_the_first_column() -> None:
    trits = np.array([[1, 0, 0, 0, 0, -1], [0, 0, 0, 0, 0, 0]], np.int8)
    assert pack_trits(trits).tolist() == [[1, 0x81], [0, 0]]


@pytest.mark.parametrize("columns", [1, 4, 5, 6, 40, 41])
def test_packing_follows_the_code(columns: int, rng: np.random.Generator) -> None:
    trits = rng.integers(-1, 2, (7, columns), np.int8)
    codes = pack_trits(trits)
    assert codes.shape == (7, -(-columns // 5))
    decoded = [[t for code in row for t in CODE_TO_TRITS[code]] for row in codes.tolist()]
    assert [row[:columns] for row in decoded] == trits.tolist()
    assert not any(any(row[columns:]) for row in decoded)
    assert unpack_trits(codes, columns).tolist() == trits.tolist()


@pytest.mark.parametrize("code", [122, 127, 128, 250, 255])
def test_other_codes_are_refused(code: int) -> None:
    with pytest.raises(ModelError, match=rf"^trit codes must be 0..121 or 129..249, not {code}$"):
        unpack_trits(np.array([[0, code]], np.uint8), 10)


def test_padding_must_be_zero() -> None:
    codes = np.array([[0, TRITS_TO_CODE[0, 0, 0, 0, 1]]], np.uint8)
    assert unpack_trits(codes, 10).tolist() == [[0] * 9 + [1]]
    with pytest.raises(ModelError, match=r"^trits past column 8 must be 0$"):
        unpack_trits(codes, 9)
