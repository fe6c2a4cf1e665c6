"""Blocks of the vector unit against the integer reference, small ones exhaustively."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from trilight.hw.contract.imported import FORMATS
from trilight.hw.imported.code import Code
from trilight.hw.imported.scale import RowScale
from trilight.hw.imported.serial import Divider, SerialMultiplier, SerialShifter, SquareRoot
from trilight.hw.imported.sigmoid import Sigmoid, sigmoid_tail
from trilight.sim.imported.blocks import serial_results, stream_results
from trilight.sw.checkpoint.importer import make_matrix
from trilight.sw.checkpoint.reader import TernaryMatrix
from trilight.sw.checkpoint.reference import (
    SIGMOID_TAIL,
    Quantised,
    quantise,
    rshift,
    scale_rows,
    sigmoid,
)

SMALL = replace(FORMATS, z_bits=9, z_frac=4, sigmoid_bits=6, table_steps=2, table_range=8)
"""A sigmoid of few bits, so that all arguments can be tried."""


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_every_root(bits: int) -> None:
    squares = range(1 << 2 * bits)
    got = serial_results(SquareRoot(bits=bits), [{"square": n} for n in squares], ["root"])
    assert got == [(math.isqrt(n),) for n in squares]


def test_roots_of_the_contract(rng: np.random.Generator) -> None:
    bits = FORMATS.root_bits
    roots = [0, 1, (1 << bits) - 1, 1 << bits - 1, *rng.integers(0, 1 << bits, 12).tolist()]
    squares = [max(0, min(root * root + off, (1 << 2 * bits) - 1))
               for root in roots for off in (-1, 0, 1)]
    got = serial_results(SquareRoot(bits=bits), [{"square": n} for n in squares], ["root"])
    assert got == [(math.isqrt(n),) for n in squares]


@pytest.mark.parametrize(("dividend_bits", "divisor_bits"), [(1, 1), (4, 3), (3, 5), (5, 5)])
def test_every_quotient(dividend_bits: int, divisor_bits: int) -> None:
    pairs = [(a, b) for a in range(1 << dividend_bits) for b in range(1 << divisor_bits)]
    dut = Divider(dividend_bits=dividend_bits, divisor_bits=divisor_bits)
    got = serial_results(dut, [{"dividend": a, "divisor": b} for a, b in pairs],
                         ["quotient", "inexact"])
    for (a, b), (quotient, inexact) in zip(pairs, got, strict=True):
        if b:
            assert (quotient, inexact) == (a // b, int(a % b > 0))
            assert quotient + inexact == -(-a // b)
        else:
            assert quotient == (1 << dividend_bits) - 1


def test_quotients_of_the_contract(rng: np.random.Generator) -> None:
    """127 over the largest magnitude, and the scale over the root, at the ends of both."""
    shift, y_bits = FORMATS.reciprocal_shift, FORMATS.y_bits
    bits = (FORMATS.act_max << shift).bit_length()
    peaks = [1 << y_bits - 1, (1 << y_bits) - 1,
             *rng.integers(1 << y_bits - 1, 1 << y_bits, 6).tolist()]
    got = serial_results(Divider(dividend_bits=bits, divisor_bits=y_bits),
                         [{"dividend": FORMATS.act_max << shift, "divisor": peak}
                          for peak in peaks], ["quotient", "inexact"])
    for peak, (quotient, inexact) in zip(peaks, got, strict=True):
        assert quotient + inexact == -((-FORMATS.act_max << shift) // peak)
        assert quotient + inexact <= 1 << FORMATS.reciprocal_bits


@pytest.mark.parametrize("high_bits", [1, 2, 3])
def test_every_quotient_of_a_long_dividend(high_bits: int) -> None:
    """The upper part of the dividend is less than the divisor, and the quotient fits."""
    low_bits, divisor_bits = 3, 3
    cases = [(high, low, divisor) for divisor in range(1, 1 << divisor_bits)
             for high in range(min(divisor, 1 << high_bits)) for low in range(1 << low_bits)]
    dut = Divider(dividend_bits=low_bits, divisor_bits=divisor_bits)
    got = serial_results(dut, [{"high": high, "dividend": low, "divisor": divisor}
                               for high, low, divisor in cases], ["quotient", "inexact"])
    for (high, low, divisor), (quotient, inexact) in zip(cases, got, strict=True):
        dividend = high << low_bits | low
        assert (quotient, inexact) == (dividend // divisor, int(dividend % divisor > 0))


@pytest.mark.parametrize(("a_bits", "b_bits"), [(1, 1), (4, 3), (2, 4), (3, 2)])
def test_every_product(a_bits: int, b_bits: int) -> None:
    pairs = [(a, b) for a in range(1 << a_bits) for b in range(1 << b_bits)]
    got = serial_results(SerialMultiplier(a_bits=a_bits, b_bits=b_bits),
                         [{"a": a, "b": b} for a, b in pairs], ["product"])
    assert got == [(a * b,) for a, b in pairs]


def test_products_of_the_contract(rng: np.random.Generator) -> None:
    a_bits, b_bits = 54, FORMATS.scale_bits
    pairs = [((1 << a_bits) - 1, (1 << b_bits) - 1), (0, 5),
             *((int(rng.integers(1 << a_bits)), int(rng.integers(1 << b_bits)))
               for _ in range(20))]
    got = serial_results(SerialMultiplier(a_bits=a_bits, b_bits=b_bits),
                         [{"a": a, "b": b} for a, b in pairs], ["product"])
    assert got == [(a * b,) for a, b in pairs]


@pytest.mark.parametrize("bits", [2, 5, 6, 8])
def test_shifts(rng: np.random.Generator, bits: int) -> None:
    """Every amount of every small number, and beyond both ends; every alignment."""
    numbers = range(1 << bits) if bits < 7 else [0, 1, 255, *rng.integers(0, 256, 9).tolist()]
    amounts = [*range(-bits - 2, bits + 3), -2000, 2000]
    cases = [(n, amount, 0) for n in numbers for amount in amounts] + [(n, 0, 1) for n in numbers]
    got = serial_results(SerialShifter(bits=bits), [
        {"value": n, "amount": amount, "align": align} for n, amount, align in cases],
        ["result", "lost", "count"])
    mask = (1 << bits) - 1
    for (n, amount, align), (result, lost, count) in zip(cases, got, strict=True):
        if align:
            assert count == (bits - n.bit_length() if n else count)
            assert result == n << (bits - n.bit_length())
        elif amount < 0:
            assert (result, lost) == (n >> min(-amount, bits), 0)
        else:
            exact = n << min(amount, 2 * bits)
            assert (result, lost) == (exact & mask, int(exact > mask))


def tail_by_hand(z: int) -> int:
    """The formula, of the small sigmoid."""
    tail = sigmoid_tail(SMALL)
    inside = SMALL.z_frac - SMALL.table_steps
    index, between = abs(z) >> inside, abs(z) & (1 << inside) - 1
    if index >= SMALL.table_entries:
        value = 0
    else:
        value = tail[index] + int(rshift((tail[index + 1] - tail[index]) * between, inside))
    return value if z < 0 else (1 << SMALL.sigmoid_bits) - value


def test_every_sigmoid_of_few_bits() -> None:
    every = range(-1 << SMALL.z_bits - 1, 1 << SMALL.z_bits - 1)
    got = stream_results(Sigmoid(SMALL), [{"z": z} for z in every], ["sigmoid"])
    assert got == [(tail_by_hand(z),) for z in every]


def test_sigmoids_of_the_contract(rng: np.random.Generator) -> None:
    assert np.array_equal(sigmoid_tail(FORMATS), SIGMOID_TAIL)
    most = 1 << FORMATS.z_bits - 1
    inside = FORMATS.z_frac - FORMATS.table_steps
    end = FORMATS.table_entries << inside
    z = [0, 1, -1, -most, most - 1, end, end - 1, -end, -end + 1,
         *rng.integers(-most, most, 100).tolist(), *rng.integers(-end, end, 300).tolist(),
         *(rng.integers(-20, 20, 20) << inside).tolist()]
    got = stream_results(Sigmoid(), [{"z": value} for value in z], ["sigmoid"])
    assert got == [(value,) for value in sigmoid(np.array(z)).tolist()]


def row_cases(rng: np.random.Generator) -> Iterator[tuple[int, int, int]]:
    most = 1 << FORMATS.acc_bits - 1
    left = FORMATS.max_left_shift
    for shift in (-left, 1 - left, -8, -1, 0, 1, 2, 7, 8, 9, 20, 40, 41, 42, 62,
                  *rng.integers(-left, 63, 30).tolist()):
        for total in (0, 1, -1, most - 1, -most, *rng.integers(-most, most, 4).tolist()):
            low = 1 << FORMATS.scale_bits - 1
            yield total, int(rng.integers(low, 2 * low)), shift


@pytest.mark.parametrize("bits", [FORMATS.z_bits, FORMATS.residual_bits + 2, FORMATS.logit_bits])
def test_rows(rng: np.random.Generator, bits: int) -> None:
    cases = list(row_cases(rng))
    got = stream_results(RowScale(bits=bits), [
        {"sum": total, "mantissa": mantissa, "shift": shift} for total, mantissa, shift in cases],
        ["result", "saturated"])
    most = 1 << bits - 1
    for (total, mantissa, shift), found in zip(cases, got, strict=True):
        value = int(scale_rows(np.array([total]), Quantised(np.zeros(1, int), mantissa, shift),
                               0)[0])
        assert found == (min(max(value, -most), most - 1), int(not -most <= value < most))


@pytest.mark.parametrize("size", [1 << 8, 1 << 24, 1 << 36])
def test_codes(rng: np.random.Generator, size: int) -> None:
    """A whole vector as the reference quantises it, ties and its ends included."""
    n = 200
    values = rng.integers(-size, size, n)
    values[:6] = (size - 1, 1 - size, 0, 1, -1, size // 2)
    matrix = make_matrix(TernaryMatrix(np.ones((1, n), np.int8), 1.0), rng.normal(1, 0.2, n), None)
    y = values * matrix.gain
    peak = int(np.abs(y).max())
    down = peak.bit_length() - FORMATS.y_bits
    shifted = peak >> down if down >= 0 else peak << -down
    reciprocal = -((-FORMATS.act_max << FORMATS.reciprocal_shift) // shifted)
    # The reciprocal is used two cycles after its value comes in, and holds.
    got = stream_results(Code(bits=64), [
        {"y": value, "down": down, "reciprocal": reciprocal} for value in y.tolist()], ["code"])
    assert [code for code, in got] == quantise(values, matrix, 0).codes.tolist()
