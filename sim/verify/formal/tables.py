"""Proof about the tables of partial sums.

Of all the memories' words only those matter that one look-up depends on: one word of one table, and
one byte's activations. Which they are is the solver's choice, and never changes; the other words
take any value whenever they are read.
"""

from collections.abc import Iterable

from amaranth.hdl import Array, Cat, Const, Mux, Signal, Value, signed
from amaranth.lib import data

from trilight.hw.contract.device import Device, WeightMemory
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.trits import TritCode
from trilight.hw.engine.adder_tree import sum_bits

from .harness import Harness, at_most, implies
from .prover import Proof
from .variant import Edit, Gateware

__all__ = ["PROOFS"]

DEVICE = Device(name="small", lanes=2, trits=3, max_columns=24, weight_words=4096,
                weight_memory=WeightMemory.BLOCK_RAM)
"""Three trits in a code, and few lanes and columns; whatever follows is as released."""

SEQUENCES = DEVICE.sequences


class _Path:
    """The entries of a table, and the steps that lead to them."""

    def __init__(self, code: TritCode) -> None:
        self._path, self._steps = code.path, ((0, 1), *code.steps)
        self.entries = len(self._path)

    def digit(self, index: Value) -> Value:
        """The activation that is added or taken away on the way to an entry."""
        return _chosen((digit for digit, _ in self._steps), index)

    def negative(self, index: Value) -> Value:
        """Tell if it is taken away."""
        return _chosen((int(direction < 0) for _, direction in self._steps), index)

    def sum(self, acts: list[Signal], index: Value) -> Value:
        """Return the entry of a table: the sum of its trits times activations."""
        total: Value = Const(0, signed(2))
        for digit, act in enumerate(acts):
            nonzero = _chosen((trits[digit] & 1 for trits in self._path), index)
            minus = _chosen((int(trits[digit] < 0) for trits in self._path), index)
            total = total + Mux(nonzero, Mux(minus, -act, act), 0)
        return total


def _chosen(values: Iterable[int], index: Value) -> Value:
    """One of a list of numbers."""
    values = list(values)
    width = max(values).bit_length()
    return Cat(Const(sum((value >> k & 1) << j for j, value in enumerate(values)), len(values))
               .bit_select(index, 1) for k in range(width))


def _keep_apart(gateware: Gateware) -> Harness:
    coding, short_trits = DEVICE.packing.code, DEVICE.packing.short_trits
    path, trits, lanes = _Path(coding), DEVICE.trits, DEVICE.lanes
    tables = gateware.module("engine.tables").PartialSumTables(device=DEVICE)
    digit_bits = (trits - 1).bit_length()
    h = Harness(tables, gateware)
    m = h.m
    acts, vectors, layout = tables.acts, tables.vectors, tables.fill_layout
    block_bits = layout["blocks"].width

    # ---- What the solver chooses: the word of a table, and whose activations it may hold.
    lane = h.constant(range(lanes), "lane")
    entry_chosen = h.constant(coding.index_bits, "chosen_entry")
    half_chosen = h.constant(1, "chosen_half")
    block_chosen = h.constant(block_bits, "chosen_block")
    sequence_chosen = h.constant(1, "chosen_sequence")
    h.assume(lane < lanes)

    memory = h.block("act_memory")
    h.cut("act_memory")
    [write], [read] = memory.write_ports, memory.read_ports
    act: list[Signal] = []
    for digit in range(trits):
        cell = Signal(signed(NUMBERS.act_bits), name=f"act_{digit}")
        at = Cat(Const(digit, digit_bits), block_chosen, sequence_chosen)
        written = write.en.bit_select(lane, 1) & (write.addr == at)
        with m.If(written):
            m.d.sync += cell.eq(write.data.word_select(lane, NUMBERS.act_bits))
        h.assume(implies(h.register(read.en & (read.addr == at) & ~written),
                         read.data.word_select(lane, NUMBERS.act_bits).as_signed()
                         == h.register(cell)))
        act.append(cell)
    words = [h.block(f"table_{j}") for j in range(lanes)]
    h.cut(*(f"table_{j}" for j in range(lanes)))
    [table_write], [table_read] = words[0].write_ports, words[0].read_ports
    word = Signal(signed(sum_bits(DEVICE)))
    at = Cat(entry_chosen, half_chosen)
    written = table_write.en & (table_write.addr == at)
    with m.If(written):
        m.d.sync += word.eq(Array(table.write_ports[0].data for table in words)[lane])
    code = Array(Value.cast(tables.codes[j]) for j in range(lanes))[lane]
    looked_up = Array(Value.cast(tables.sums[j]) for j in range(lanes))[lane].as_signed()
    looks_up = table_read.en & (code == entry_chosen) & (tables.read_half == half_chosen)
    h.assume(implies(h.register(looks_up & ~written), looked_up == h.register(word)))
    # The trits' memory keeps nothing while it serves another.
    asked = h.register(tables.rom_read & ~tables.rom_taken)
    asked_for = h.register(tables.rom_index)
    h.assume(implies(asked, (tables.rom_step.digit == path.digit(asked_for))
                     & (tables.rom_step.negative == path.negative(asked_for))))

    # ---- A sequence has one vector at a time, from its first activation or from when it is next to
    # fill, to when its last block can be read. Its size and form do not change meanwhile.
    full_before = h.register(tables.full)
    shown = tables.full & ~full_before
    serving, now, count = Signal(), Signal(), Signal(block_bits)
    written_blocks = Array(Signal(block_bits + 1, name=f"blocks_{k}") for k in range(SEQUENCES))
    writing, writing_sequence = Signal(), Signal()
    blocks = Array(h.free(block_bits, f"size_{k}") for k in range(SEQUENCES))
    short = Array(h.free(1, f"short_{k}") for k in range(SEQUENCES))
    accepted = vectors.valid & vectors.ready
    for k in range(SEQUENCES):
        lives = ((written_blocks[k] != 0) | (writing & (writing_sequence == k))
                 | (serving & (now == k)) | (acts.valid & (tables.act_sequence == k))
                 | (accepted & (vectors.payload.sequence == k)))
        before = h.register(Cat(blocks[k], short[k]))
        h.assume(implies(h.register(lives), Cat(blocks[k], short[k]) == before))
    h.assume(implies(accepted, (vectors.payload.blocks == blocks[vectors.payload.sequence])
                     & (vectors.payload.short == short[vectors.payload.sequence])))

    # ---- Writing: a vector at a time, to its last activation, which may come before a block's end.
    at_digit, at_lane = Signal(digit_bits), Signal(range(lanes))
    writes = tables.act_sequence
    end_of_lane = at_digit == Mux(tables.act_short, short_trits, trits) - 1
    end_of_block = end_of_lane & (at_lane == lanes - 1)
    in_last = written_blocks[writes] == blocks[writes]
    with m.If(acts.valid):
        h.assume(tables.act_short == short[writes])
        h.assume(at_most(acts.payload.value, NUMBERS.act_max))
        h.assume(written_blocks[writes] <= blocks[writes])
        h.assume(implies(writing, writes == writing_sequence))
        h.assume(Mux(end_of_block, acts.payload.last == in_last, ~acts.payload.last | in_last))
        m.d.sync += [writing.eq(~acts.payload.last), writing_sequence.eq(writes),
                     at_digit.eq(at_digit + 1)]
        with m.If(end_of_lane):
            m.d.sync += [at_digit.eq(0), at_lane.eq(at_lane + 1)]
        with m.If(end_of_block | acts.payload.last):
            m.d.sync += [at_digit.eq(0), at_lane.eq(0),
                         written_blocks[writes].eq(written_blocks[writes] + 1)]

    # ---- Filling: vectors as they were taken, block by block, one half after the other. A half
    # holds the activations as they are when it is shown.
    next_half = Signal()
    held = [Signal.like(cell, name=f"held_{k}") for k, cell in enumerate(act)]
    mine, held_short = Signal(), Signal()
    with m.If(accepted):
        m.d.sync += [serving.eq(1), now.eq(vectors.payload.sequence), count.eq(0)]
    h.claim(implies(shown.any(), serving & (shown == 1 << next_half)
                    & (written_blocks[now] > count)))
    with m.If(shown.any()):
        m.d.sync += [next_half.eq(~next_half), count.eq(count + 1)]
        with m.If(count == blocks[now]):
            m.d.sync += [serving.eq(0), written_blocks[now].eq(0)]
    with m.If(shown.bit_select(half_chosen, 1)):
        m.d.sync += [mine.eq((now == sequence_chosen) & (count == block_chosen)),
                     held_short.eq(short[now]),
                     *(cell.eq(value) for cell, value in zip(held, act, strict=True))]

    # ---- Reading: rows of a full half, then it is given back.
    reading, issue, last_row = Signal(), h.free(1, "issue"), h.free(1, "last_row")
    h.assume(implies(issue, tables.full.bit_select(reading, 1)))
    ends = issue & last_row
    m.d.sync += reading.eq(reading ^ ends)
    issued, issued_half = h.register(issue), h.register(reading)
    m.d.comb += [tables.release.eq(h.register(ends)), tables.release_half.eq(issued_half),
                 tables.read.eq(h.register(issued)), tables.read_half.eq(h.register(issued_half))]
    entries = TritCode(short_trits).entries, path.entries
    h.assume(implies(looks_up, entry_chosen < Mux(held_short, *entries)))
    h.claim(implies(h.register(looks_up & mine),
                    looked_up == h.register(path.sum(held, entry_chosen))))

    # ---- What is true of every state that can be reached.
    for cell in act:
        h.lemma(at_most(cell, NUMBERS.act_max))
    # Writing.
    written_now = written_blocks[writing_sequence]
    h.lemma(h.signal("write_digit") == at_digit)
    h.lemma(h.signal("write_lane") == 1 << at_lane)
    h.lemma(h.signal("write_block") == Mux(writing, written_now, 0))
    h.lemma(implies(~writing, (at_digit == 0) & (at_lane == 0)))
    h.lemma(implies(writing, (written_now <= blocks[writing_sequence])
                    & (at_digit < Mux(short[writing_sequence], short_trits, trits))))
    # The pipeline of a filling: `index[k]` is the entry that its stage k is about.
    busy, filling, stepping = (h.signal(name) for name in ("busy", "filling", "stepping"))
    vector = tables.vectors.payload.shape()(h.signal("vector"))
    fill_block, step, entry = (h.signal(name) for name in ("fill_block", "step", "entry"))
    half = h.signal("half")
    stage = [data.View(data.StructLayout({"valid": 1, "first": 1, "last": 1}),
                              h.signal(f"fill_{k}")) for k in range(5)]
    index = {4: entry}
    for k in (3, 2, 1, 0):
        index[k] = index[k + 1] + stage[k + 1].valid
    last = Mux(vector.short, *entries) - 1
    h.lemma(implies(filling, busy & (entry <= last)
                    & (index[0] == Mux(stepping, step, last + 1))))
    h.lemma(implies(stepping, filling & (step <= last)))
    h.lemma(implies(~stepping, step == 0))
    h.lemma(implies(~filling, (entry == 0)))
    for k in range(1, 5):
        h.lemma(implies(stage[k].valid, filling & (stage[k].first == (index[k] == 0))))
        h.lemma(stage[k].last == (stage[k].valid & (index[k] == last)))
    # Blocks that wait to be filled.
    late = stage[4].last & (fill_block == vector.blocks)
    started, started_before = h.signal("fill_started"), h.register(h.signal("fill_started"))
    h.lemma(serving == (busy & ~late))
    h.lemma(implies(serving, (vector.sequence == now) & (vector.blocks == blocks[now])
                    & (vector.short == short[now]) & (fill_block <= vector.blocks)
                    & (count == fill_block + stage[4].last)))
    h.lemma(implies(started, stepping & (index[0] == 0)))
    h.lemma(implies(started_before, stepping & (index[1] == 0)))
    for k in range(SEQUENCES):
        begun = Mux(serving & (now == k), fill_block + filling, 0)
        wait = written_blocks[k] - begun
        h.lemma(wait >= 0)
        h.lemma(wait == h.signal(f"waiting_{k}") + h.signal(f"more_{k}")
                - (started & (vector.sequence == k)))
        h.lemma(implies(h.signal("some_wait")[k], (wait > 0) | started | started_before))
        h.lemma(implies(written_blocks[k] != 0, written_blocks[k] <= blocks[k] + 1))
        h.lemma(implies((written_blocks[k] != 0) & (written_blocks[k] <= blocks[k]),
                        writing & (writing_sequence == k)))
    # Halves.
    ending = stage[3].last | stage[4].last
    h.lemma(next_half == half ^ stage[4].last)
    h.lemma(shown == Mux(stage[3].last, 1 << half, 0))
    h.lemma(implies(filling, tables.full.bit_select(half, 1) == ending))
    unread = Cat(tables.full[k] & ~(tables.release & (tables.release_half == k)) for k in range(2))
    coming = half ^ ending
    h.lemma(Mux(unread.xor(), (reading != coming) & unread.bit_select(reading, 1),
                reading == coming))
    for k in range(2):
        h.lemma(implies(issued & (issued_half == k), tables.full[k]))
        h.lemma(implies(tables.release & (tables.release_half == k), issued & tables.full[k]))
        reads = tables.read & (tables.read_half == k)
        h.lemma(implies(reads, tables.full[k] | full_before[k]))
        h.lemma(implies(filling & (half == k), ~reads))
        h.lemma(implies(filling & (half == k) & ~ending, ~full_before[k]))
        h.lemma(implies(filling & (half == k) & issued & (issued_half == k), stage[4].last))
    # Sums.
    is_chosen = (vector.sequence == sequence_chosen) & (fill_block == block_chosen)
    h.lemma(implies(stage[1].valid, asked & (asked_for == index[1])))
    negative = h.signal("negative")
    value = Array(h.signal(f"value_{j}") for j in range(lanes))[lane].as_signed()
    total = Array(h.signal(f"total_{j}") for j in range(lanes))[lane].as_signed()
    with m.If(filling & (half == half_chosen) & is_chosen):
        signed_act = [Array(act)[path.digit(index[k])].as_signed() for k in (2, 3)]
        h.lemma(implies(stage[2].valid, (negative[0] == path.negative(index[2])) & (
            read.data.word_select(lane, NUMBERS.act_bits).as_signed() == signed_act[0])))
        h.lemma(implies(stage[3].valid, (negative[1] == path.negative(index[3])) & (
            value == Mux(path.negative(index[3]), -signed_act[1] - 1, signed_act[1]))))
        so_far = (entry - ~stage[4].valid)[:coding.index_bits]
        h.lemma(implies(stage[4].valid | (entry != 0), total == path.sum(act, so_far)))
        h.lemma(implies(entry > entry_chosen, word == path.sum(act, entry_chosen)))
    at_end = stage[4].last & (half == half_chosen)
    with m.If(at_end):
        h.lemma((mine == is_chosen) & (held_short == vector.short))
        for cell, value in zip(held, act, strict=True):
            h.lemma(implies(mine, cell == value))
    kept = (tables.full | full_before).bit_select(half_chosen, 1)
    h.lemma(implies(mine & kept & ~at_end & ~(stage[3].last & (half == half_chosen))
                    & (entry_chosen < Mux(held_short, *entries)),
                    word == path.sum(held, entry_chosen)))
    return h


PROOFS = [
    Proof(name="tables.keep_apart", build=_keep_apart, method="induction", depth=2,
          claim="Every look-up gives the sum of the trits of its byte times the activations of the "
                "block that its half was filled with, whatever the sizes and order of two "
                "sequences' vectors, and that sum is exact. Halves are filled in turn, each only "
                "with a block that has been written.",
          fault=Edit("engine/tables.py", "some_wait.bit_select(vector.sequence, 1)",
                     "some_wait.any()"), shows=20, small=True),
]
