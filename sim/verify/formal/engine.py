"""Proofs about the engine's operations and sums of rows."""

from amaranth.hdl import Mux, Signal, Value

from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.support.boards import board_device

from .harness import Harness, at_most, implies
from .prover import Proof
from .variant import Edit, Gateware

__all__ = ["PROOFS"]


def _operations_pass(gateware: Gateware) -> Harness:
    engine = gateware.module("engine.engine").Engine(device=gateware.device)
    h = Harness(engine, gateware)
    tables, rows = h.block("tables"), h.block("rows")
    h.cut("tables", "rows", "embedding", "rom")
    h.assume_stream(engine.operations.ops)
    h.claim_stream(tables.vectors)
    accepted = engine.operations.ops.valid & engine.operations.ops.ready
    taken = rows.passes.valid & rows.passes.ready
    h.assume(~h.register(taken) | ~rows.passes.ready)
    under_way = Signal(2)
    last = Signal(len(Value.cast(engine.operations.ops.payload)))
    h.m.d.sync += under_way.eq(under_way + accepted - taken)
    with h.m.If(accepted):
        h.m.d.sync += last.eq(engine.operations.ops.payload)
    h.claim(under_way <= 1)
    h.claim(~taken | ((under_way == 1) & (Value.cast(rows.passes.payload) == last)))
    h.claim((tables.vectors.valid & tables.vectors.ready) == accepted)
    h.claim(h.signal("pending_valid") == ((under_way == 1) | h.signal("begun")))
    h.claim(~h.signal("begun") | (under_way == 0))
    h.claim((under_way == 0) | (h.signal("pending") == last))
    return h


def _sums_fit(gateware: Gateware) -> Harness:
    rows = gateware.module("engine.rows").RowStream(device=gateware.device)
    h = Harness(rows, gateware)
    memory = h.block("sums_memory")
    h.cut("sums_memory")
    maximum = gateware.device.trits * NUMBERS.act_max
    level: list[Value] = [h.signal(f"tree.term_{j}") for j in range(gateware.device.lanes)]
    for j, term in enumerate(level):
        partial = Value.cast(rows.sums[j]).as_signed()
        h.assume(at_most(partial, maximum))
        # A negative sum is inverted here, and has its one added by some adder below.
        sign = h.signal("signs")[j]
        h.claim(~h.started | (term == h.register(Mux(sign, -partial - 1, partial))))
    stage, used = 1, 0
    while len(level) > 1:
        signs, nodes = h.signal(f"tree.signs_{stage}"), []
        for k in range(0, len(level), 2):
            node = h.signal(f"tree.tree_{stage}_{k // 2}")
            exact = level[k] + level[k + 1] + signs[used]
            h.claim(~h.started | (node == h.register(exact)))
            nodes.append(node)
            used += 1
        level, stage = [*nodes], stage + 1
    # 127 times the columns of a word, and 127 times those before it: together at most 127 times
    # what a device holds.
    max_word, max_before = (
        h.constant(gateware.device.norm_bits, name) for name in ("max_word", "max_before"))
    limit = max_word + max_before
    h.assume(limit <= NUMBERS.act_max * gateware.device.max_columns)
    word = level[0] + h.signal(f"tree.signs_{stage}")[used]
    so_far = Value.cast(memory.read_ports[0].data).as_signed()
    h.assume(at_most(word, max_word))
    h.assume(at_most(so_far, max_before))
    total = h.signal("total")
    expected = h.register(word + Mux(h.signal("first_block"), 0, so_far))
    h.claim(~h.started | ((total == expected)
                          & at_most(total, limit)))
    return h

def _rows_take_turns(gateware: Gateware) -> Harness:
    rows = gateware.module("engine.rows").RowStream(device=gateware.device)
    h = Harness(rows, gateware)
    h.cut("sums_memory")
    h.assume(implies(h.register(rows.rows_enabled & ~rows.op_ends), rows.rows_enabled))
    before, reading = Signal(), Signal()
    h.m.d.comb += reading.eq(before ^ rows.release)
    h.m.d.sync += before.eq(reading)
    taken = rows.words.valid & rows.words.ready
    issued = h.register(taken)
    h.claim(implies(taken, rows.full.bit_select(reading, 1)))
    last_block = h.signal("last_block")
    h.claim(implies(rows.op_ends, taken & last_block))
    h.claim(implies(taken & last_block, rows.rows_enabled))
    h.claim(implies(rows.release, issued & (rows.release_half == before)))
    h.claim(rows.read == h.register(issued))
    h.claim(implies(rows.read, rows.read_half == h.register(before)))
    h.lemma(implies(h.signal("opened"), ~last_block | rows.rows_enabled))
    h.lemma(h.signal("half") == reading)
    h.lemma(implies(issued, rows.release_half == before))
    h.lemma(implies(rows.release, issued))
    return h


PROOFS = [
    Proof(name="engine.passes_operations", build=_operations_pass, method="induction", depth=2,
          claim="Tables and rows take the same operations in the same order, none twice or lost.",
          fault=Edit("engine/engine.py", "ready.eq(tables.vectors.ready & ~pending_valid)",
                     "ready.eq(tables.vectors.ready)"), shows=6),
    Proof(name="rows.take_turns", build=_rows_take_turns, method="induction", depth=3,
          claim="Rows look up one half after the other, each only while it is full, and give it "
                "back after the last of them; those of the last block wait until they are "
                "expected.",
          fault=Edit("engine/rows.py", "| (self.rows_enabled & ~self.op_ends))",
                     "| self.rows_enabled)"),
          shows=12),
    Proof(name="rows.sums_fit", build=_sums_fit, method="every state", depth=3,
          claim="No adder on the way to a row's sum overflows, nor does the sum, as long as the "
                f"columns so far are at most {board_device().max_columns}.",
          fault=Edit("engine/adder_tree.py", "carry, width=len(node)))",
                     "carry, width=len(node) - 1))")),
]
