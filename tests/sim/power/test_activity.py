"""Counts of a netlist: nets, memories, products, by stage and by part."""

import json
import re
from collections.abc import Iterator

import numpy as np
import pytest
from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal
from amaranth.lib.memory import Memory

from trilight.boards.echo import Echo
from trilight.boards.icebreaker import Icebreaker
from trilight.boards.tang_nano_20k import TangNano20k
from trilight.boards.ulx3s import Ulx3s45F
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.flow.build import synthesise
from trilight.hw.support.boards import board_device
from trilight.sim.native.bench import CountedStage
from trilight.sim.native.compile import NativeBench
from trilight.sim.power.activity import measure_activity, token_stages
from trilight.sim.power.blocks import PARTS, assign_parts
from trilight.sim.power.instrumentation import Instrumentation, instrument
from trilight.sw.errors import SimulationError
from trilight.sw.model.model import Model
from trilight.sw.power import COUNTED

DEVICE = board_device()

WINDOW = 256


class CountingAnywhere(Echo):
    """A chip of cells that every family has.

    Eight flip-flops count. A block RAM is read in every second cycle and written in every fourth
    one; a 16x16 product has a factor that changes in every cycle.
    """

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(shape=16, depth=1024, init=[])
        read, write = memory.read_port(), memory.write_port()
        count = Signal(8)
        wide, large = Signal(16), Signal(32)
        m.d.comb += [read.addr.eq(count >> 2), read.en.eq(count[0]), write.addr.eq(count),
                     write.data.eq(wide), write.en.eq(count[:2] == 3),
                     wide.eq(Cat(count, count))]
        m.d.sync += [count.eq(count + 1), large.eq(wide * wide),
                     self.tx.eq(read.data.xor() ^ large.xor())]
        return m


class Counting(Echo):
    """A chip whose activity can be told by counting.

    Eight flip-flops count. A block RAM is read in every second cycle, at addresses that change
    every fourth cycle; SPRAM is selected in every eighth cycle; an 8x8 and a 16x16 product have
    factors that change in every cycle.
    """

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(shape=16, depth=256, init=range(256))
        read = memory.read_port()
        write = memory.write_port()
        count = Signal(8)
        word = Signal(16)
        small, large = Signal(16), Signal(32)
        wide = Signal(16)
        m.d.comb += [read.addr.eq(count >> 2), read.en.eq(count[0]), write.en.eq(0),
                     wide.eq(Cat(count, count))]
        m.submodules.spram = Instance(
            "SB_SPRAM256KA", i_CLOCK=ClockSignal(), i_ADDRESS=count, i_DATAIN=Const(0, 16),
            o_DATAOUT=word, i_WREN=Const(0), i_MASKWREN=Const(0, 4),
            i_CHIPSELECT=count[:3] == 7, i_STANDBY=Const(0), i_SLEEP=Const(0), i_POWEROFF=Const(1))
        m.d.sync += [count.eq(count + 1), small.eq(count * count), large.eq(wide * wide),
                     self.tx.eq(read.data.xor() ^ word.xor() ^ small.xor() ^ large.xor())]
        half = Signal(attrs={"keep": 1}, name="trace_half_valid")
        m.d.comb += [half.eq(count[-1]), Signal(attrs={"keep": 1}, name="trace_half").eq(count[0])]
        return m


@pytest.fixture(scope="module")
def counted() -> Iterator[tuple[Instrumentation, NativeBench]]:
    netlist = synthesise(Icebreaker(chip=Counting))
    instrumentation = instrument(netlist)
    assert instrumentation.clock_nets == 1
    assert instrumentation.flip_flops == sum(n for name, n in netlist.cells.items()
                                    if name.startswith("SB_DFF"))
    bench = NativeBench(netlist, instrumentation.probe)
    yield instrumentation, bench
    bench.close()


def test_counts_of_a_counter(counted: tuple[Instrumentation, NativeBench]) -> None:
    instrumentation, bench = counted
    bench.count(busy=False, length=WINDOW)
    bench.run(5 * WINDOW)
    windows = bench.windows()
    _, transitions = bench.slots()
    assert len(windows) == 5
    for window in windows[1:]:  # The first one knows of no read before it.
        got = instrumentation.activity(window)
        assert got.cycles == WINDOW
        # Reads in every second cycle; writes never, so that Yosys leaves no port to count.
        assert got.ebr_accesses == 1 / 2
        # Of two reads in four cycles, the second has the address of the first.
        assert got.ebr_repeats == 1 / 4
        assert got.spram_accesses == 1 / 8
        # One product of bytes, and four that make the large one.
        assert got.dsp_ops == 1 + 4
    # Bit k of a counter changes every 2**k cycles.
    assert {5 * WINDOW >> k for k in range(8)} <= set(transitions.sum(axis=(0, 1)).tolist())
    assert windows[:, 0].sum() == transitions.sum()


def test_stages_add_up_to_the_windows(counted: tuple[Instrumentation, NativeBench]) -> None:
    """A window ends when a counter's top bit has been 1 for half a period and 8 cycles more."""
    instrumentation, bench = counted
    bench.count(
        busy=False,
        once=1,
        skip=1,
        stages=[
            CountedStage("half_valid", 5),
            CountedStage("half_valid", WINDOW // 2),
            CountedStage("half_valid", 8),
        ],
    )
    bench.run(6 * WINDOW)
    windows = bench.windows()
    sums, transitions = bench.slots()
    assert sums.shape[:2] == transitions.shape[:2] == (3, 2)
    # The top bit is 1 in as many cycles as the stages ask for, with one or two halves of 0 between.
    # The stage that came once was a window to be skipped.
    half = WINDOW // 2
    assert len(windows) >= 2
    assert set(windows[:, -1].tolist()) <= {half + 8 + half, half + 8 + 2 * half}
    assert sums[0].sum() == 0
    # What was counted after the last window is in no stage yet.
    assert sums[..., -1].sum() == windows[:, -1].sum()
    assert (sums[..., 0] == transitions.sum(axis=-1)).all()
    # Selecting the SPRAM is what sets cycles apart: one in eight.
    selected = [k for k, (_, event) in enumerate(instrumentation.counts)
                if event == "spram_accesses"]
    assert (sums[:, 0, 1 + np.array(selected)] == 0).all()
    assert (sums[:, 1, 1 + np.array(selected)].sum(axis=-1) == sums[:, 1, -1]).all()
    assert sums[:, 1, -1].sum() * 8 == pytest.approx(sums[..., -1].sum(), abs=8)
    with pytest.raises(SimulationError, match="no trace 'act_valid'; it has"):
        bench.count(busy=True, stages=[CountedStage("act_valid", 1)])


def test_every_cell_finds_its_part() -> None:
    fan_in = {
        "chip.core.engine.rows.a_SB_LUT4_O": [],
        "chip.core.engine.tables.table_0.0.0": ["chip.core.engine.rows.a_SB_LUT4_O"],
        "chip.core.engine.busy_SB_LUT4_O": [],
        "chip.core.engine.rowsums_SB_LUT4_O": [],
        "chip.core.acts__payload$7.value_SB_DFF_Q": ["chip.core.vector.x_SB_LUT4_O"],
        "chip.core.vector.x_SB_LUT4_O": [],
        # Fed by cells between blocks only, and by nothing at all.
        "chip.core.kind_SB_DFF_Q": ["chip.core.acts__payload$7.value_SB_DFF_Q"],
        "chip.core.op.kind_SB_LUT4_O": [],
        # Most of what feeds it decides.
        "chip.core.rows_SB_LUT4_O": ["chip.core.vector.x_SB_LUT4_O", "chip.core.engine.rows.a",
                                     "chip.core.engine.rows.b"],
        "chip.core.engine.rows.a": [],
        "chip.core.engine.rows.b": [],
        "timer_SB_DFF_Q": ["timer_SB_DFF_Q"],
        "tx$20.o_SB_IO": [],
    }
    parts = assign_parts(fan_in, ["chip", "chip.core", "chip.core.engine.rows", "tx$20"])
    assert list(parts[cell] for cell in fan_in) == [
        "row_sums", "tables", "row_sums", "row_sums", "vector_unit", "vector_unit", "vector_unit",
        "sequencer", "row_sums", "row_sums", "row_sums", "reset", "link"]


@pytest.mark.parametrize("block", ["chip.core.attention", "chip.radio", "oven"])
def test_unknown_block_is_an_error(block: str) -> None:
    with pytest.raises(SimulationError, match=rf"block '{block}' belongs to no part"):
        assign_parts({}, ["chip.core.vector", block])


def test_parts_are_those_of_the_chip() -> None:
    """Every block is in a part, and the table names no block that the chip does not have."""
    netlist = synthesise(Icebreaker())
    instrumentation = instrument(netlist)
    assert set(assign_parts(instrumentation.fan_in, netlist.blocks)) == set(instrumentation.fan_in)
    there = [re.sub(r"\$\d+", "", name) for name in (*netlist.blocks, *instrumentation.fan_in)]
    # Biases are a chip's that learns, the buffer that of a board without PLL.
    assert [block for block in PARTS if not any(name.startswith(block) for name in there)] == [
        "chip.core.biases", "clock_buffer"]


@pytest.mark.parametrize("sequences", [1, 2])
def test_stages_write_what_the_next_consumes(sequences: int) -> None:
    """All activations of a token: the columns of its matrices, and those of the next token's."""
    config = ModelConfig(vocab_size=32, d_model=40, n_layers=2, d_hidden=80)
    first, rest = token_stages(config, sequences)
    acts = sum(stage.ends.pulses for stage in rest if stage.ends.trace == "act_valid")
    assert acts == sequences * (config.n_layers * (3 * 40 + 80) + 40)
    assert [stage.name for stage in first] == ["embedding"] * sequences
    assert [stage.name for stage in rest[-2 * sequences:]] == ["head", "embedding"] * sequences
    assert {stage.ends for stage in rest if stage.name == "head"} == {
        CountedStage("logit_valid", 32)
    }
    assert [stage.layer for stage in rest[:5 * sequences]] == [0] * 4 * sequences + [1] * sequences


@pytest.mark.slow
@pytest.mark.parametrize("sequences", [1, 2])
def test_activity_of_the_chip(seed: int, sequences: int) -> None:
    model = Model.random(ModelConfig(vocab_size=32, d_model=40, n_layers=2, d_hidden=80), seed)
    activity = measure_activity(synthesise(Icebreaker()), model, prompt=model.decode([1]),
                                sequences=sequences)
    words_per_cycle = model.config.weight_words(DEVICE.packing) / activity.cycles_per_token
    # A word is four accesses; the embedding's row is read besides.
    assert activity.busy.spram_accesses == pytest.approx(4 * words_per_cycle, rel=0.02)
    assert activity.idle.spram_accesses == 0
    assert activity.idle.net_transitions < activity.busy.net_transitions / 10
    assert activity.idle.ebr_repeats == activity.idle.ebr_accesses
    assert len(activity.windows) >= 3
    assert json.loads(json.dumps(activity.to_dict())) == activity.to_dict()

    breakdown = activity.breakdown
    # By the chip's counters, and by the time from one last logit to the next.
    assert breakdown.cycles_per_token == pytest.approx(activity.cycles_per_token, rel=0.01)
    assert breakdown.tokens == sequences * len(activity.windows)
    for event in COUNTED:
        assert getattr(breakdown.activity, event) == pytest.approx(getattr(activity.busy, event))
    assert breakdown.activity.cycles == activity.busy.cycles
    # Words are read in the cycles that count as reading, one in each.
    reading = {stage.stage: 0 for stage in breakdown.stages}
    for stage in breakdown.stages:
        if stage.reading:
            reading[stage.stage] += stage.cycles
            assert stage.total("spram_accesses") == 4 * stage.cycles
        else:
            assert stage.total("spram_accesses") == 0
    del reading["embedding"]
    assert sum(reading.values()) == pytest.approx(
        breakdown.tokens * model.config.weight_words(DEVICE.packing), rel=0.02)
    # The first words of a stage may be read at the end of the one before.
    assert reading["mix"] == pytest.approx(breakdown.tokens * 2 * 3 * 40, rel=0.1)
    assert 0 < reading["head"] < reading["residual"] < reading["glu"] + reading["mix"]


@pytest.mark.parametrize("board", [Ulx3s45F, TangNano20k])
def test_cells_of_other_families_are_counted(board: type[Ulx3s45F] | type[TangNano20k]) -> None:
    netlist = synthesise(board(chip=CountingAnywhere))
    instrumentation = instrument(netlist)
    bench = NativeBench(netlist, instrumentation.probe)
    bench.run(WINDOW)
    bench.count(busy=False, length=WINDOW)
    bench.run(WINDOW)
    found = instrumentation.activity(bench.windows()[0])
    bench.close()
    assert found.clock_nets == 1
    assert found.ff_clocked == sum(number for cell, number in netlist.cells.items()
                                   if cell.startswith(("TRELLIS_FF", "DFF")))
    # The port that writes is enabled in every cycle, and reads where it does not write.
    assert found.ebr_accesses == pytest.approx(1 + 1 / 2)
    # Halves of 9 and 7 bits: the upper one changes in every second cycle, the lower in each.
    assert found.dsp_ops == pytest.approx(3 + 1 / 2)
    # A counter's bits change twice a cycle in all, and what they feed at least as often.
    assert found.net_transitions > 4
