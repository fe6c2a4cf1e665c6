"""Blocks of the imported models' vector unit on a layer's own values, against the reference.

The reference computes a token; each block gets, in Amaranth's simulator, what a chip would give it,
and must give what the reference has: the reciprocal, the codes, the root and the multiplier of each
matrix, the rows times their multipliers, and the sigmoids.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from amaranth.sim import Simulator
from numpy.typing import NDArray

from trilight.hw.contract.imported import FORMATS
from trilight.hw.imported.code import Code
from trilight.hw.imported.scale import RowScale
from trilight.hw.imported.serial import Divider, SquareRoot
from trilight.hw.imported.sigmoid import Sigmoid
from trilight.sw.checkpoint.model import ImportedModel
from trilight.sw.checkpoint.reference import sigmoid

__all__ = ["PRE_ACTIVATIONS", "serial_results", "stream_results", "verify_blocks"]

Values = Mapping[str, int]
Integers = NDArray[np.int64]

PRE_ACTIVATIONS = ("i", "f", "gate")
RESIDUAL = ("o", "down")
Y_BITS = 64


def stream_results(dut: Any, inputs: Sequence[Values],
                   results: Sequence[str]) -> list[tuple[int, ...]]:
    """Results of a block that takes a value in each cycle, ``dut.LATENCY`` later."""
    got: list[tuple[int, ...]] = []

    async def testbench(ctx: Any) -> None:
        for n in range(len(inputs) + dut.LATENCY):
            if n >= dut.LATENCY:
                got.append(tuple(ctx.get(getattr(dut, name)) for name in results))
            if n < len(inputs):
                for name, value in inputs[n].items():
                    ctx.set(getattr(dut, name), value)
            await ctx.tick()

    _simulate(dut, testbench)
    return got


def serial_results(dut: Any, operands: Sequence[Values],
                   results: Sequence[str]) -> list[tuple[int, ...]]:
    """Results of one serial operation after the other, each at the cycle that is promised."""
    got: list[tuple[int, ...]] = []

    async def testbench(ctx: Any) -> None:
        for operand in operands:
            for name, value in operand.items():
                ctx.set(getattr(dut, name), value)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            for _ in range(dut.cycles - 1):
                assert not ctx.get(dut.done), "done too early"
                await ctx.tick()
            assert ctx.get(dut.done), "not done in time"
            got.append(tuple(ctx.get(getattr(dut, name)) for name in results))
            await ctx.tick()
            assert not ctx.get(dut.done), "done twice"

    _simulate(dut, testbench)
    return got


def _simulate(dut: Any, testbench: Any) -> None:
    sim: Any = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(testbench)
    sim.run()


def verify_blocks(model: ImportedModel, layer: int, trace: Mapping[tuple[str, int], Integers],
                  ) -> tuple[int, int]:
    """Compare the blocks with the reference's values of a layer.

    Parameters
    ----------
    model : ImportedModel
    layer : int
    trace : mapping
        Values by stage and layer, as ``ImportedReference.step`` shows them.

    Returns
    -------
    int
        Values compared.
    int
        Those that differ.
    """
    def of(stage: str) -> Integers:
        return trace[stage, layer]

    found: list[tuple[Sequence[int], Sequence[int]]] = []
    for name, matrix in model.layers[layer].items():
        norm = of(f"{name}.norm").tolist()
        if norm[3]:
            found += _norm(norm, of(f"{name}.input") * matrix.gain, of(f"{name}.codes"),
                           matrix.scale)
    for name in PRE_ACTIVATIONS:
        z = of(f"{name}.z")
        sums = of(f"{name}.sums")[:len(z)]
        found.append((_scaled(sums, of(f"{name}.norm"), FORMATS.z_frac, FORMATS.z_bits),
                      z.tolist()))
        found.append(([value for value, in stream_results(
            Sigmoid(), [{"z": value} for value in z.tolist()], ["sigmoid"])],
            sigmoid(z).tolist()))
    for name, before in (("o", of("i.input")), ("down", of("gate.input"))):
        added = _scaled(of(f"{name}.sums"), of(f"{name}.norm"), model.residual_frac,
                        FORMATS.residual_bits + 2)
        most = 1 << FORMATS.residual_bits - 1
        after = np.clip(before + np.array(added), -most, most - 1)
        wanted = of("gate.input") if name == "o" else of("residual")
        found.append((after.tolist(), wanted.tolist()))
    compared = sum(len(wanted) for _, wanted in found)
    differ = sum(sum(map(int.__ne__, got, wanted)) + abs(len(got) - len(wanted))
                 for got, wanted in found)
    return compared, differ


def _norm(norm: Sequence[int], y: Integers, codes: Integers,
          scale: int) -> list[tuple[Sequence[int], Sequence[int]]]:
    """Codes and multiplier of a matrix, from the reciprocal and the root that the blocks find."""
    down, peak, squares, mantissa, _ = norm
    top = FORMATS.act_max << FORMATS.reciprocal_shift
    (quotient, inexact), = serial_results(
        Divider(dividend_bits=top.bit_length(), divisor_bits=FORMATS.y_bits),
        [{"dividend": top, "divisor": peak}], ["quotient", "inexact"])
    got = stream_results(Code(bits=Y_BITS), [
        {"y": value, "down": down, "reciprocal": quotient + inexact} for value in y.tolist()],
        ["code"])
    (root,), = serial_results(SquareRoot(bits=FORMATS.root_bits), [{"square": squares}], ["root"])
    (quotient, _), = serial_results(
        Divider(dividend_bits=FORMATS.y_bits + FORMATS.scale_bits, divisor_bits=FORMATS.root_bits),
        [{"dividend": peak * scale, "divisor": root}], ["quotient", "inexact"])
    upper = quotient >> quotient.bit_length() - FORMATS.scale_bits
    return [([code for code, in got], codes.tolist()), ([upper], [mantissa])]


def _scaled(sums: Integers, norm: Integers, frac: int, bits: int) -> list[int]:
    mantissa, fraction = norm.tolist()[3:]
    shift = max(min(fraction - frac, 62), -FORMATS.max_left_shift)
    return [value for value, in stream_results(RowScale(bits=bits), [
        {"sum": total, "mantissa": mantissa, "shift": shift} for total in sums.tolist()],
        ["result"])]
