"""The cost model of a model on boards: cycles, bytes, time, tokens and joules.

Everything follows from sizes. ``TokenSchedule`` has the cycles of a core that takes ``lanes`` bytes
of five weights in each; a memory gives its bytes. A board takes the longer of both. The embedding
is the host's: a token costs the link one vector, and no figure here has it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from trilight.hw.contract.chain import ChainCommand, vector_bytes
from trilight.hw.contract.device import Device, WeightMemory
from trilight.sw.checkpoint.shape import LAYER_MATRICES, Shape
from trilight.sw.errors import PlanError

from .boards import PlanBoard, plan_boards
from .cycles import TokenSchedule

__all__ = ["TILE_ROWS", "BoardLoad", "Plan", "Work", "boards_that_hold", "make_plan", "model_work",
           "plan_results", "unit_works"]

TILE_ROWS = 1024
"""Rows whose sums an engine keeps: a larger matrix is passed in tiles."""
TRITS_PER_BYTE = 5


class _AnyDevice(Device):
    """An engine of any number of lanes, whether or not one can be built."""

    def _contradictions(self) -> Iterator[str]:
        yield from ()


@dataclass(frozen=True)
class Work:
    """Cycles of an engine, and bytes that it reads."""

    cycles: int = 0
    """Cycles of the core; ``trilight verify-layer`` counts as many on its RTL."""
    bytes: int = 0
    """Weights with their padding."""
    weights: int = 0
    """Weights without padding."""

    def __add__(self, other: "Work") -> "Work":
        return Work(self.cycles + other.cycles, self.bytes + other.bytes,
                    self.weights + other.weights)

    def milliseconds(self, board: PlanBoard) -> float:
        """Time on a board: the longer of engine and memory."""
        return 1e3 * max(self.cycles / (board.clock_mhz.value * 1e6),
                         self.bytes / (board.megabytes_per_s.value * 1e6))

    def bound(self, board: PlanBoard) -> str:
        """Name what takes longer: ``engine`` or ``memory``."""
        engine = self.cycles / board.clock_mhz.value
        return "engine" if engine > self.bytes / board.megabytes_per_s.value else "memory"


@lru_cache(maxsize=256)
def unit_works(shape: Shape, lanes: int, share: int = 1) -> tuple[Work, ...]:
    """Work of what a cut goes between, each layer and the head.

    Parameters
    ----------
    share
        Boards that divide the rows of every matrix; the work is that of one of them.
    """
    maximum = max(rows for rows, _ in map(shape.matrix, (*LAYER_MATRICES, "head")))
    device = _AnyDevice(name="plan", lanes=lanes, sequences=1, max_rows=maximum,
                        max_columns=max(shape.hidden, shape.inner), tile_rows=TILE_ROWS,
                        weight_words=1, weight_memory=WeightMemory.EXTERNAL)
    cycles = TokenSchedule(shape, device, share=share).units

    def stored(name: str) -> tuple[int, int]:
        """Bytes and weights of a matrix."""
        rows, columns = shape.matrix(name)
        rows = -(-rows // share)
        blocks = -(-columns // (TRITS_PER_BYTE * lanes))
        return rows * blocks * lanes, rows * columns

    layer = [sum(column) for column in zip(*map(stored, LAYER_MATRICES), strict=True)]
    return (*(Work(count, *layer) for count in cycles[:-1]), Work(cycles[-1], *stored("head")))


def model_work(shape: Shape, lanes: int) -> Work:
    """Work of a token, head included, on one board."""
    return sum(unit_works(shape, lanes), Work())


@dataclass(frozen=True)
class BoardLoad:
    """One board's part."""

    what: str
    """Layers, such as ``0-1`` or ``22-23, head``."""
    work: Work
    milliseconds: float
    """Time for one token of one sequence."""
    bound: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A model on a number of boards of one kind."""

    shape: Shape
    board: PlanBoard
    boards: int
    split: str
    lanes: int
    whole: Work
    """Work of a token on one board."""
    fewest_boards: int
    """Fewest boards with which it fits, layers whole."""
    on_chip_boards: int
    """Boards that would hold all weights in block RAM."""
    loads: tuple[BoardLoad, ...]
    """Parts of the boards in use, in the order of the layers."""
    hop_bytes: int
    """Bytes from board to board for a token, or, rows split, over all links."""
    link_milliseconds: float
    """Time of a token on the links."""
    sequences_per_word: int
    """Sequences that each weight word serves, in ``batch_per_s``."""
    one_sequence_per_s: float
    """Tokens a second of one sequence."""
    full_per_s: float
    """Tokens a second with as many sequences as boards."""
    batch_per_s: float
    """Tokens a second with ``sequences_per_word`` for each of these."""

    @property
    def fits(self) -> bool:
        maximum = max(load.work.bytes for load in self.loads)
        return maximum <= self.board.megabytes.value * 1e6

    def joules(self, tokens_per_s: float) -> tuple[float, float, float]:
        """Joules of a token at a rate: expected, least and most, by the boards' power alone."""
        low, high = self.board.watts_from_to
        in_use = len(self.loads)
        return (in_use * self.board.watts.value / tokens_per_s, in_use * low / tokens_per_s,
                in_use * high / tokens_per_s)


def make_plan(shape: Shape, board: PlanBoard, boards: int, *, split: str = "layers",
              lanes: int | None = None, sequences_per_word: int = 16,
              link_mbit_s: float = 50.0) -> Plan:
    """Plan a model on boards.

    Parameters
    ----------
    split
        ``layers``: each board has some layers whole. ``rows``: each has a part of every matrix.
    lanes
        Byte lanes of the engine. Default: as many as the memory feeds.
    link_mbit_s
        Of a link between neighbours.

    Raises
    ------
    PlanError
        A number is not positive, or the split unknown.
    """
    if boards < 1 or sequences_per_word < 1 or not link_mbit_s > 0 or (
            lanes is not None and lanes < 1):
        raise PlanError("boards, lanes, sequences and link speed must be positive")
    if split not in ("layers", "rows"):
        raise PlanError(f"a model is split by layers or rows, not by {split!r}")
    width = board.lanes if lanes is None else lanes
    whole = model_work(shape, width)
    per_ms = link_mbit_s * 1e3 / 8
    if split == "layers":
        loads = _cut_layers(shape, board, boards, width)
        hop = vector_bytes(ChainCommand.RESIDUAL, shape.hidden)
        link_ms = (len(loads) - 1) * hop / per_ms
    else:
        loads = _cut_rows(shape, board, boards, width)
        hop = shape.layers * (7 * shape.hidden + shape.inner) if boards > 1 else 0
        link_ms = hop / per_ms
    slowest = max(load.milliseconds for load in loads)
    if split == "layers":
        one = 1e3 / (sum(load.milliseconds for load in loads) + link_ms)
        full = 1e3 / max(slowest, hop / per_ms if len(loads) > 1 else 0)
    else:
        one = full = 1e3 / (slowest + link_ms)
    capacity = board.megabytes.value * 1e6
    return Plan(shape=shape, board=board, boards=boards, split=split, lanes=width, whole=whole,
                fewest_boards=_fewest(shape, width, capacity),
                on_chip_boards=-int(-whole.bytes // board.weight_bytes_on_chip.value),
                loads=loads, hop_bytes=hop, link_milliseconds=link_ms,
                sequences_per_word=sequences_per_word, one_sequence_per_s=one, full_per_s=full,
                batch_per_s=_many(loads, board, sequences_per_word, split, hop, per_ms))


def _many(loads: Sequence[BoardLoad], board: PlanBoard, sequences: int, split: str, hop: int,
          per_ms: float) -> float:
    """Tokens a second where each weight word serves several sequences, and links carry them all."""
    slowest = max(load.milliseconds for load in loads)
    links = sequences * hop / per_ms if len(loads) > 1 else 0.0
    return 1e3 * sequences / (max(slowest, links) if split == "layers" else slowest + links)


def _fewest(shape: Shape, lanes: int, capacity: float) -> int:
    """Boards that hold the model, layers whole; 0 if a layer or the head alone is too large."""
    units = [work.bytes for work in unit_works(shape, lanes)]
    return 0 if max(units) > capacity else len(list(_packed(units, capacity)))


def boards_that_hold(shape: Shape) -> dict[str, int]:
    """The fewest boards of each known kind that hold a model, layers whole; kinds that cannot are
    left out, as are rooflines."""
    found = {board.name: _fewest(shape, board.lanes, board.megabytes.value * 1e6)
             for board in plan_boards().values() if not board.roofline}
    return {name: fewest for name, fewest in found.items() if fewest}


def _packed(units: Sequence[float], maximum: float) -> Iterator[list[int]]:
    """Runs of units, each as long as it may be with a sum of at most ``most``."""
    run: list[int] = []
    total = 0.0
    for number, size in enumerate(units):
        if run and total + size > maximum:
            yield run
            run, total = [], 0.0
        run.append(number)
        total += size
    yield run


def _cut_layers(shape: Shape, board: PlanBoard, boards: int,
                lanes: int) -> tuple[BoardLoad, ...]:
    """The cut into runs of layers whose slowest board is fastest."""
    units = unit_works(shape, lanes)
    times = [unit.milliseconds(board) for unit in units]
    sums = sorted({sum(times[a:b]) for a in range(len(times))
                   for b in range(a + 1, len(times) + 1)})
    # The smallest sum of neighbours within which the runs need no more boards than there are.
    low, high = 0, len(sums) - 1
    while low < high:
        middle = (low + high) // 2
        if sums[middle] >= max(times) and len(list(_packed(times, sums[middle]))) <= boards:
            high = middle
        else:
            low = middle + 1
    loads = []
    for run in _packed(times, sums[low]):
        work = sum((units[n] for n in run), Work())
        loads.append(BoardLoad(_names(run, shape.layers), work, work.milliseconds(board),
                               work.bound(board)))
    return tuple(loads)


def _names(run: Sequence[int], layers: int) -> str:
    inner = [n for n in run if n < layers]
    parts = []
    if inner:
        parts.append(str(inner[0]) if len(inner) == 1 else f"{inner[0]}-{inner[-1]}")
    if layers in run:
        parts.append("head")
    return ", ".join(parts)


def _cut_rows(shape: Shape, board: PlanBoard, boards: int, lanes: int) -> tuple[BoardLoad, ...]:
    work = sum(unit_works(shape, lanes, boards), Work())
    load = BoardLoad(f"1/{boards} of every row set", work, work.milliseconds(board),
                     work.bound(board))
    return (load,) * boards


def plan_results(plan: Plan) -> dict[str, Any]:
    """A plan ready for JSON, with what is assumed."""
    board = plan.board
    rates = {"one_sequence": plan.one_sequence_per_s, "pipeline_full": plan.full_per_s,
             "batch": plan.batch_per_s}
    return {
        "shape": plan.shape.to_dict(), "ternary_weights": plan.shape.ternary_weights,
        "bytes": plan.whole.bytes, "cycles": plan.whole.cycles, "lanes": plan.lanes,
        "board": board.name, "boards": plan.boards, "boards_in_use": len(plan.loads),
        "split": plan.split, "roofline": board.roofline, "fits": plan.fits,
        "fewest_boards": plan.fewest_boards or None,
        "fewest_of_other_boards": None if plan.fits else boards_that_hold(plan.shape),
        "on_chip_boards": plan.on_chip_boards,
        "loads": [{"what": load.what, "bytes": load.work.bytes, "cycles": load.work.cycles,
                   "milliseconds": load.milliseconds, "bound": load.bound}
                  for load in plan.loads],
        "link": {"bytes": plan.hop_bytes, "milliseconds": plan.link_milliseconds},
        "sequences_per_word": plan.sequences_per_word, "tokens_per_s": rates,
        "joules_per_token": {name: dict(zip(("expected", "min", "max"), plan.joules(rate),
                                            strict=True)) for name, rate in rates.items()},
        "boundary": "boards only; the embedding is looked up on the host",
        "kind": "roofline" if board.roofline else "modelled",
        "figures": {name: vars(getattr(board, name)) for name in (
            "megabytes", "megabytes_per_s", "clock_mhz", "max_lanes", "weight_bytes_on_chip",
            "watts")},
    }
