"""Adder tree: the partial sums of a word's lanes, and their signs, into one sum."""

from amaranth.hdl import Module, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.device import Device
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.lib.arith import add_carry

__all__ = ["AdderTree", "sum_bits"]


def sum_bits(device: Device, lanes: int = 1) -> int:
    """Width of the sum of some lanes' signed partial sums."""
    return (lanes * device.trits * NUMBERS.act_max).bit_length() + 1


class AdderTree(wiring.Component):
    """Sum of all lanes, of which each may be negated, in ``1 + device.tree_depth`` cycles.

    A negated sum is the inverted one plus 1. The ones enter as the carries of the tree's adders,
    one each; the one that is left over comes out beside the sum, for the adder that follows. A lane
    without a partner waits a cycle in a register, so any number of lanes will do.

    ::

        cycle    0        1        2 ...      1 + depth
                 sums     terms    pairs      sum, carry
                 signs

    Members
    -------
    sums : In(array of signed)
    signs : In(array of bits)
        1 for a lane that is to be negated.
    sum : Out(signed)
    carry : Out(1)
        To be added to ``sum``.
    """

    sums: data.View
    signs: Signal
    sum: Signal
    carry: Signal

    def __init__(self, *, device: Device) -> None:
        self._device = device
        self._lanes = device.lanes
        super().__init__({
            "sums": In(data.ArrayLayout(signed(sum_bits(device)), self._lanes)),
            "signs": In(self._lanes),
            "sum": Out(signed(self._width(self._lanes))),
            "carry": Out(1),
        })

    def _width(self, lanes: int) -> int:
        """Width of some lanes' sum, which is never more than that of a row."""
        return min(sum_bits(self._device, lanes), self._device.acc_bits)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        signs: list[Value] = [self.signs]  # as of k cycles ago
        for k in range(1, self._device.tree_depth + 2):
            delayed = Signal(self._lanes, name=f"signs_{k}", reset_less=True)
            m.d.sync += delayed.eq(signs[-1])
            signs.append(delayed)

        # Of each node: its value, and how many lanes it is the sum of.
        level: list[tuple[Signal, int]] = []
        for j in range(self._lanes):
            term = Signal(signed(sum_bits(self._device)), name=f"term_{j}", reset_less=True)
            m.d.sync += term.eq(self.sums[j].as_unsigned() ^ self.signs[j].replicate(len(term)))
            level.append((term, 1))
        unused = list(range(self._lanes))
        for stage in range(1, self._device.tree_depth + 1):
            nodes = []
            for k in range(0, len(level), 2):
                lanes = sum(count for _, count in level[k:k + 2])
                node = Signal(signed(self._width(lanes)), name=f"tree_{stage}_{k // 2}",
                              reset_less=True)
                if k + 1 < len(level):
                    carry = signs[stage][unused.pop(0)]
                    m.d.sync += node.eq(
                        add_carry(level[k][0], level[k + 1][0], carry, width=len(node)))
                else:
                    m.d.sync += node.eq(level[k][0])
                nodes.append((node, lanes))
            level = nodes
        m.d.comb += [
            self.sum.eq(level[0][0]),
            self.carry.eq(signs[-1][unused.pop(0)]),
        ]
        return m
