"""Proofs about the serial arithmetic of imported models, at the widths of their contract."""

from amaranth.hdl import Cat, Mux, Signal

from trilight.hw.contract.imported import FORMATS
from trilight.hw.imported.timing import QUOTIENT_BITS

from .harness import Harness, implies
from .prover import Proof
from .variant import Edit, Gateware

__all__ = ["PROOFS"]


def _root_is_whole(gateware: Gateware) -> Harness:
    bits = FORMATS.root_bits
    block = gateware.module("imported.serial").SquareRoot(bits=bits)
    h = Harness(block, gateware)
    m = h.m
    asked = Signal(2 * bits, name="asked_square")
    known = Signal()
    # The root so far and its square, formed bit by bit: (2 r + b)^2 = 4 r^2 + b (4 r + 1).
    root, square = Signal(bits, name="root_so_far"), Signal(2 * bits, name="square_so_far")
    steps, left, remainder = h.signal("steps"), h.signal("left"), h.signal("remainder")
    bit = ~h.signal("difference")[-1]
    with m.If(steps.any()):
        m.d.sync += [root.eq(Cat(bit, root)),
                     square.eq((square << 2) + Mux(bit, (root << 2) + 1, 0))]
    with m.If(block.start):
        m.d.sync += [asked.eq(block.square), known.eq(1), root.eq(0), square.eq(0)]
    h.claim(implies(block.done, (block.root == root) & (square <= asked)
                    & (asked < square + (root << 1) + 1)))

    h.lemma(steps <= bits)
    h.lemma(block.done == (known & h.register((steps == 1) & ~block.start)))
    with m.If(known):
        taken = Signal(2 * bits, name="taken")
        m.d.comb += taken.eq(asked >> (steps << 1))
        h.lemma(block.root == root)
        h.lemma(root >> (bits - steps).as_unsigned() == 0)
        h.lemma(taken == square + remainder)
        h.lemma(remainder <= root << 1)
        h.lemma(left == (asked << (2 * (bits - steps)).as_unsigned())[:2 * bits])
    with m.Else():
        h.lemma((steps == 0) & ~block.done)
    return h


def _quotient_is_whole(gateware: Gateware) -> Harness:
    low, width = QUOTIENT_BITS, FORMATS.y_bits
    block = gateware.module("imported.serial").Divider(dividend_bits=low, divisor_bits=width)
    h = Harness(block, gateware)
    m = h.m
    dividend, divisor = Signal(low + width, name="asked"), Signal(width, name="asked_divisor")
    known = Signal()
    quotient, product = Signal(low, name="so_far"), Signal(low + width, name="product")
    steps, remainder = h.signal("steps"), h.signal("remainder")
    bit = ~h.signal("difference")[-1]
    h.assume(implies(block.start, block.high < block.divisor))
    h.assume(implies(steps.any(), block.divisor == divisor))
    # The quotient so far times the divisor, as in long multiplication.
    with m.If(steps.any()):
        m.d.sync += [quotient.eq(Cat(bit, quotient)),
                     product.eq((product << 1) + Mux(bit, divisor, 0))]
    with m.If(block.start):
        m.d.sync += [dividend.eq(Cat(block.dividend, block.high)), divisor.eq(block.divisor),
                     known.eq(1), quotient.eq(0), product.eq(0)]
    h.claim(implies(block.done, (block.quotient == quotient) & (product <= dividend)
                    & (dividend < product + divisor)
                    & (block.inexact == (product != dividend))))

    h.lemma(steps <= low)
    h.lemma(block.done == (known & h.register((steps == 1) & ~block.start)))
    with m.If(known):
        taken = Signal(low + width, name="taken")
        rest = Signal(low, name="rest")
        m.d.comb += [taken.eq(dividend >> steps),
                     rest.eq(dividend << (low - steps).as_unsigned())]
        h.lemma(remainder < divisor)
        h.lemma(taken == product + remainder)
        h.lemma(quotient >> (low - steps).as_unsigned() == 0)
        h.lemma(block.quotient == rest | quotient)
    with m.Else():
        h.lemma((steps == 0) & ~block.done)
    return h


PROOFS = [
    Proof(name="imported.root_is_whole", build=_root_is_whole, method="induction", depth=2,
          claim="The root of any number of 48 bits is its whole part.",
          fault=Edit("imported/serial.py", "brought - Cat(1, 0, self.root)",
                     "brought - Cat(0, 0, self.root)"), shows=30),
    Proof(name="imported.quotient_is_whole", build=_quotient_is_whole, method="induction", depth=2,
          claim="A quotient of up to 29 bits is its whole part, and tells whether something is "
                "left.",
          fault=Edit("imported/serial.py", "self.inexact.eq(remainder.any())",
                     "self.inexact.eq(remainder[1:].any())"), shows=34),
]
