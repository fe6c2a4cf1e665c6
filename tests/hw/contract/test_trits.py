"""The trit code, from its defining properties."""

from itertools import pairwise, product

import numpy as np
import pytest

from trilight.hw.contract.trits import FILE_CODE, TritCode
from trilight.sw.errors import ModelError
from trilight.sw.model.trits import pack_trits, unpack_trits

CODES = [TritCode(trits) for trits in (2, 3, 4, 5)]


def every(code: TritCode) -> set[tuple[int, ...]]:
    return set(product((-1, 0, 1), repeat=code.trits))


def negated(trits: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(-t for t in trits)


@pytest.mark.parametrize("code", CODES, ids=str)
def test_path_is_half_of_all_combinations(code: TritCode) -> None:
    assert len(code.path) == len(set(code.path)) == code.entries == (3**code.trits + 1) // 2
    assert code.path[0] == (0,) * code.trits
    assert set(code.path) | {negated(trits) for trits in code.path} == every(code)
    assert set(code.path) & {negated(trits) for trits in code.path} == {code.path[0]}


@pytest.mark.parametrize("code", CODES, ids=str)
def test_path_changes_one_trit_by_one(code: TritCode) -> None:
    assert len(code.steps) == len(code.path) - 1
    for (before, after), (digit, direction) in zip(pairwise(code.path), code.steps, strict=True):
        change = [b - a for a, b in zip(before, after, strict=True)]
        assert change == [direction if i == digit else 0 for i in range(code.trits)]
        assert abs(direction) == 1


@pytest.mark.parametrize("digits", range(6))
def test_path_begins_with_the_path_of_fewer_trits(digits: int) -> None:
    half, path = (3**digits + 1) // 2, FILE_CODE.path
    assert not any(any(trits[digits:]) for trits in path[:half])
    assert all(any(trits[digits:]) for trits in path[half:])


@pytest.mark.parametrize("code", CODES, ids=str)
def test_codes_are_sign_and_index(code: TritCode) -> None:
    assert set(code.to_code) == every(code)
    assert set(code.to_trits) == {
        *range(code.entries), *range(code.sign + 1, code.sign + code.entries)}
    assert max(code.to_trits) < 1 << code.bits
    for number, trits in code.to_trits.items():
        assert code.to_code[trits] == number
        positive = code.path[number % code.sign]
        assert trits == (negated(positive) if number & code.sign else positive)


def test_codes_of_model_files_are_bytes() -> None:
    assert (FILE_CODE.entries, FILE_CODE.index_bits, FILE_CODE.bits, FILE_CODE.sign) == (
        122, 7, 8, 0x80)
    assert TritCode(3).bits == 5


def test_first_trit_is_the_first_column() -> None:
    trits = np.array([[1, 0, 0, 0, 0, -1], [0, 0, 0, 0, 0, 0]], np.int8)
    assert pack_trits(trits).tolist() == [[1, 0x81], [0, 0]]


@pytest.mark.parametrize("columns", [1, 4, 5, 6, 40, 41])
def test_packing_follows_the_code(columns: int, rng: np.random.Generator) -> None:
    trits = rng.integers(-1, 2, (7, columns), np.int8)
    codes = pack_trits(trits)
    assert codes.shape == (7, -(-columns // 5))
    decoded = [[t for code in row for t in FILE_CODE.to_trits[code]] for row in codes.tolist()]
    assert [row[:columns] for row in decoded] == trits.tolist()
    assert not any(any(row[columns:]) for row in decoded)
    assert unpack_trits(codes, columns).tolist() == trits.tolist()


@pytest.mark.parametrize("code", [122, 127, 128, 250, 255])
def test_other_codes_are_refused(code: int) -> None:
    with pytest.raises(ModelError, match=rf"^trit codes must be 0..121 or 129..249, not {code}$"):
        unpack_trits(np.array([[0, code]], np.uint8), 10)


def test_padding_must_be_zero() -> None:
    codes = np.array([[0, FILE_CODE.to_code[0, 0, 0, 0, 1]]], np.uint8)
    assert unpack_trits(codes, 10).tolist() == [[0] * 9 + [1]]
    with pytest.raises(ModelError, match=r"^trits past column 8 must be 0$"):
        unpack_trits(codes, 9)
