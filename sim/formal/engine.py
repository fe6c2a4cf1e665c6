"""Proofs about the engine: its operations, sums of rows and tables."""

from amaranth.hdl import Array, Const, Mux, Signal, Value, signed

from trilight.hw.config import NUMBERS, UP5K

from .harness import Harness, at_most
from .prover import Proof
from .variant import Edit, Gateware

__all__ = ["PROOFS"]


def _sum_of(terms: list[Value]) -> Value:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _operations_pass(gateware: Gateware) -> Harness:
    engine = gateware.module("engine").Engine(device=UP5K)
    h = Harness(engine, gateware)
    tables, rows = h.block("tables"), h.block("rows")
    h.cut("tables", "rows", "embedding", "rom")
    accepted = engine.ops.valid & engine.ops.ready
    taken = rows.ops.valid & rows.ops.ready
    h.assume(~h.register(taken) | ~rows.ops.ready)
    under_way = Signal(2)
    last = Signal(len(Value.cast(engine.ops.payload)))
    h.m.d.sync += under_way.eq(under_way + accepted - taken)
    with h.m.If(accepted):
        h.m.d.sync += last.eq(engine.ops.payload)
    h.claim(under_way <= 1)
    h.claim(~taken | ((under_way == 1) & (Value.cast(rows.ops.payload) == last)))
    h.claim((tables.vectors.valid & tables.vectors.ready) == accepted)
    h.claim(h.signal("pending_valid") == ((under_way == 1) | h.signal("begun")))
    h.claim(~h.signal("begun") | (under_way == 0))
    h.claim((under_way == 0) | (h.signal("pending") == last))
    return h


def _sums_fit(gateware: Gateware) -> Harness:
    rows = gateware.module("engine.rows").RowStream(device=UP5K)
    h = Harness(rows, gateware)
    memory = h.block("sums_memory")
    h.cut("sums_memory")
    most = NUMBERS.trits_per_byte * NUMBERS.act_max
    level: list[Value] = [h.signal(f"term_{j}") for j in range(NUMBERS.bytes_per_word)]
    for j, term in enumerate(level):
        partial = Value.cast(rows.sums[j]).as_signed()
        h.assume(at_most(partial, most))
        # A negative sum is inverted here, and has its one added by some adder below.
        sign = h.signal("signs_1")[j]
        h.claim(~h.started | (term == h.register(Mux(sign, -partial - 1, partial))))
    stage, used = 2, 0
    while len(level) > 1:
        signs, nodes = h.signal(f"signs_{stage}"), []
        for k in range(0, len(level), 2):
            node = h.signal(f"tree_{stage}_{k // 2}")
            exact = level[k] + level[k + 1] + signs[used]
            h.claim(~h.started | (node == h.register(exact)))
            nodes.append(node)
            used += 1
        level, stage = [*nodes], stage + 1
    # 127 times the columns of a word, and 127 times those before it: together at most 127 times
    # what a device holds.
    most_word, most_before = (h.constant(15, name) for name in ("most_word", "most_before"))
    limit = most_word + most_before
    h.assume(limit <= NUMBERS.act_max * UP5K.max_columns)
    word = level[0] + h.signal(f"signs_{stage}")[used]
    so_far = Value.cast(memory.read_ports[0].data).as_signed()
    h.assume(at_most(word, most_word))
    h.assume(at_most(so_far, most_before))
    total = h.signal("total")
    expected = h.register(word + Mux(h.signal("first_block"), 0, so_far))
    h.claim(~h.started | ((total == expected)
                          & at_most(total, limit)))
    return h


TRITS, SHORT_TRITS, LANES, ENTRIES = 2, 1, 2, 5
SMALL_TABLES = (
    Edit("config.py", "trits_per_byte: int = 5", f"trits_per_byte: int = {TRITS}"),
    Edit("config.py", "short_trits: int = 4", f"short_trits: int = {SHORT_TRITS}"),
    Edit("config.py", "bytes_per_word: int = 8", f"bytes_per_word: int = {LANES}"),
    Edit("config.py", "act_bits: int = 8", "act_bits: int = 3"),
    Edit("config.py", "act_max: int = 127", "act_max: int = 3"),
    Edit("engine/tables.py", "INDEX_BITS = 7", "INDEX_BITS = 3"),
    Edit("engine/tables.py", "DIGIT_BITS = 3", "DIGIT_BITS = 1"),
)
"""Two bytes of two trits, or of one in short words."""


def _tables_apart(gateware: Gateware) -> Harness:
    config, tables_module = gateware.module("config"), gateware.module("engine.tables")
    path = gateware.module("ternary").PATH
    device = config.DeviceConfig(name="small", weight_words=4,
                                 max_columns=2 * TRITS * LANES)
    tables = tables_module.PartialSumTables(device=device)
    h = Harness(tables, gateware)
    m = h.m
    m.submodules.rom = rom = tables_module.TritRom()
    m.d.comb += [rom.index.eq(tables.rom_index), rom.read.eq(tables.rom_read & ~tables.rom_taken),
                 tables.rom_step.eq(rom.step)]
    # The rom keeps what it has read last while it serves another, which is not looked at.
    blocks, sequences = 2, range(device.sequences)
    acts, vector = tables.acts, tables.vectors

    # ---- Vectors of each sequence are of one size, and short or not.
    last_block = Array(h.constant(1, f"last_block_{k}") for k in sequences)
    short = Array(h.constant(1, f"short_{k}") for k in sequences)
    h.assume(vector.payload.blocks == last_block[vector.payload.sequence])
    h.assume(vector.payload.short == short[vector.payload.sequence])
    h.assume_stream(vector)

    # ---- Writing: whole blocks, a vector at a time; the next of a sequence when the one before
    # has filled.
    written = Array(Signal(name=f"written_{k}") for k in sequences)  # and not yet filled
    writing, lane, digit, block = Signal(), Signal(), Signal(), Signal()
    sequence = tables.act_sequence
    h.assume(tables.act_short == short[sequence])
    h.assume(~h.register(writing | acts.valid) | ~writing | (sequence == h.register(sequence)))
    end_of_lane = digit == Mux(tables.act_short, SHORT_TRITS - 1, TRITS - 1)
    end_of_block = end_of_lane & (lane == LANES - 1)
    end = end_of_block & (block == last_block[sequence])
    h.assume(~acts.valid | (acts.payload.last == end))
    h.assume(~acts.valid | writing | ~written[sequence])
    h.assume(~acts.valid | at_most(acts.payload.value, 3))
    memory = [[[[Signal(signed(3), name=f"act_{s}_{b}_{j}_{d}") for d in range(TRITS)]
                for j in range(LANES)] for b in range(blocks)] for s in sequences]
    with m.If(acts.valid):
        m.d.sync += [writing.eq(~end), digit.eq(Mux(end_of_lane, 0, digit + 1)),
                     lane.eq(lane ^ end_of_lane), block.eq(Mux(end, 0, block ^ end_of_block))]
        for s in sequences:
            for b in range(blocks):
                for j in range(LANES):
                    for d in range(TRITS):
                        with m.If((sequence == s) & (block == b) & (lane == j) & (digit == d)):
                            m.d.sync += memory[s][b][j][d].eq(acts.payload.value)
        with m.If(end):
            m.d.sync += written[sequence].eq(1)

    # ---- Filling: vectors as they were taken, block by block; each half holds what it shows.
    now = Signal(name="filling_sequence")
    filled_block = Signal()
    with m.If(vector.valid & vector.ready):
        m.d.sync += [now.eq(vector.payload.sequence), filled_block.eq(0)]
    held = [[[Signal(signed(3), name=f"held_{half}_{j}_{d}") for d in range(TRITS)]
             for j in range(LANES)] for half in range(2)]
    held_short = Array(Signal(name=f"held_short_{half}") for half in range(2))
    full_before = h.register(tables.full)
    for half in range(2):
        with m.If(tables.full[half] & ~full_before[half]):
            m.d.sync += [filled_block.eq(1), held_short[half].eq(short[now])]
            for s in sequences:
                for b in range(blocks):
                    with m.If((now == s) & (filled_block == b)):
                        m.d.sync += [held[half][j][d].eq(memory[s][b][j][d])
                                     for j in range(LANES) for d in range(TRITS)]
            with m.If(filled_block == last_block[now]):
                m.d.sync += written[now].eq(0)

    # ---- Reading: rows of a full half, then it is given back.
    reading = Signal(name="reading_half")
    issue, last_row = h.free(1, "issue"), h.free(1, "last_row")
    h.assume(~issue | tables.full.bit_select(reading, 1))
    ends = issue & last_row
    m.d.sync += reading.eq(reading ^ ends)
    issued, of_half = h.register(issue), h.register(reading)
    looks_up, from_half = h.register(issued), h.register(of_half)
    m.d.comb += [tables.release.eq(h.register(ends)), tables.release_half.eq(of_half),
                 tables.read.eq(looks_up), tables.read_half.eq(from_half)]
    for j in range(LANES):
        code = Value.cast(tables.codes[j])
        h.assume(code < Mux(held_short[from_half], (3**SHORT_TRITS + 1) // 2, ENTRIES))
        cases = [_sum_of([Const(0, signed(6)), *(
            trit * Mux(from_half, held[1][j][d], held[0][j][d])
            for d, trit in enumerate(trits) if trit)]) for trits in path]
        expected = h.register(Array(cases)[code], f"expected_{j}")
        h.claim(~h.register(looks_up) | (Value.cast(tables.sums[j]).as_signed() == expected))
    return h


PROOFS = [
    Proof(name="engine.passes_operations", build=_operations_pass, method="induction", depth=2,
          claim="Tables and rows take the same operations in the same order, none twice or lost.",
          fault=Edit("engine/__init__.py", "ready.eq(tables.vectors.ready & ~pending_valid)",
                     "ready.eq(tables.vectors.ready)"), shows=6),
    Proof(name="rows.sums_fit", build=_sums_fit, method="every state", depth=3,
          claim="No adder on the way to a row's sum overflows, nor does the sum, as long as the "
                f"columns so far are at most {UP5K.max_columns}.",
          fault=Edit("engine/rows.py", "width = len(level[0]) + 1", "width = len(level[0])")),
    Proof(name="tables.keep_apart", build=_tables_apart, method="bounded", depth=45,
          claim="Every look-up gives the sum of the trits of its byte times the activations of the "
                "block that its half was filled with: two sequences in any order, one or two "
                "blocks, long or short words.",
          sizes=SMALL_TABLES, undecided=True,
          fault=Edit("engine/tables.py", "& ~self.full.bit_select(half, 1)),", "),")),
]
