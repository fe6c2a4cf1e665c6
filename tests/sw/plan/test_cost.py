import json

import numpy as np
import pytest

from trilight.sw.checkpoint.shape import LAYER_MATRICES, SHAPES, Shape
from trilight.sw.errors import PlanError
from trilight.sw.plan.boards import field_rows, plan_board, plan_boards
from trilight.sw.plan.cost import (
    TILE_ROWS,
    Plan,
    boards_that_hold,
    make_plan,
    model_work,
    plan_results,
    unit_works,
)

ENTRIES = 122
"""Of a table of five weights."""


def words_one_by_one(rows: int, columns: int, lanes: int) -> tuple[int, int]:
    """Words of a product and cycles of its filling, counted in the order of the stream."""
    words, filling, first = 0, 0, 0
    while first < rows:
        tile = min(TILE_ROWS, rows - first)
        for _ in range(0, columns, 5 * lanes):
            words += tile
            filling += max(0, ENTRIES - tile)
        first += tile
    return words, filling


@pytest.mark.parametrize("lanes", [1, 2, 6, 8, 13, 41, 64])
def test_units_by_counting(rng: np.random.Generator, lanes: int) -> None:
    """A word a cycle, or what fills tables; besides that each matrix waits for a few hundred."""
    for shape in (Shape(layers=2, hidden=1024, inner=2816, vocabulary=1500),
                  Shape(layers=3, hidden=48, inner=37, vocabulary=61),
                  Shape(layers=1, hidden=int(rng.integers(20, 1500)),
                        inner=int(rng.integers(20, 1500)), vocabulary=2500)):
        works = unit_works(shape, lanes)
        assert len(works) == shape.layers + 1
        names = [*[LAYER_MATRICES] * shape.layers, ("head",)]
        for work, matrices in zip(works, names, strict=True):
            sizes = [shape.matrix(name) for name in matrices]
            counted = [words_one_by_one(*size, lanes) for size in sizes]
            assert work.bytes == lanes * sum(words for words, _ in counted)
            assert work.weights == sum(rows * columns for rows, columns in sizes)
            minimum = sum(map(sum, counted))
            maximum = sum(2 * columns + 900 for _, columns in sizes)
            assert minimum <= work.cycles <= minimum + maximum


def test_published_figures() -> None:
    """Lanes and cycles of a 370M token as they were measured on another engine, within 1 %."""
    for lanes, cycles in ((8, 8.66e6), (16, 4.36e6), (26, 2.70e6), (64, 1.34e6), (96, 1.01e6)):
        assert model_work(SHAPES["370M"], lanes).cycles == pytest.approx(cycles, rel=0.01)
    assert model_work(SHAPES["370M"], 2).bytes == pytest.approx(68.5e6, rel=0.002)
    assert model_work(SHAPES["2.7B"], 1).bytes == pytest.approx(523.9e6, rel=0.002)


@pytest.mark.parametrize("board", plan_boards())
def test_every_figure_says_where_it_is_from(board: str) -> None:
    found = plan_board(board)
    for name in ("megabytes", "megabytes_per_s", "clock_mhz", "max_lanes",
                 "weight_bytes_on_chip", "watts"):
        figure = getattr(found, name)
        assert figure.value > 0
        assert figure.kind in ("stated", "assumed")
        assert figure.source
    assert found.watts_from_to[0] < found.watts.value < found.watts_from_to[1]
    assert found.lanes >= 1


def test_rows_of_the_field_say_what_they_cover() -> None:
    for row in field_rows():
        assert row.kind in ("measured", "modelled", "stated", "projected")
        assert row.covers
        assert row.source


def best_cut(times: list[float], boards: int) -> float:
    """The smallest time of the slowest board, over all cuts."""
    best = {(0, 0): 0.0}
    for end in range(1, len(times) + 1):
        for used in range(1, boards + 1):
            found = [max(best[begin, used - 1], sum(times[begin:end]))
                     for begin in range(end) if (begin, used - 1) in best]
            if found:
                best[end, used] = min(found)
    return min(value for (end, _), value in best.items() if end == len(times))


@pytest.mark.parametrize("boards", [1, 2, 3, 5, 12, 25, 40])
@pytest.mark.parametrize("shape", ["370M", "2.7B"])
def test_the_cut_is_the_best_there_is(boards: int, shape: str) -> None:
    board, sizes = plan_board("ulx3s-85f"), SHAPES[shape]
    plan = make_plan(sizes, board, boards)
    times = [work.milliseconds(board) for work in unit_works(sizes, plan.lanes)]
    slowest = max(load.milliseconds for load in plan.loads)
    assert slowest == pytest.approx(best_cut(times, boards), rel=1e-3)
    assert len(plan.loads) <= boards
    assert sum(load.work.bytes for load in plan.loads) == plan.whole.bytes
    assert sum(load.work.cycles for load in plan.loads) == plan.whole.cycles


def ulx3s(boards: int, **options: object) -> Plan:
    return make_plan(SHAPES["370M"], plan_board("ulx3s-85f"), boards, **options)  # type: ignore[arg-type]


def test_what_boards_do() -> None:
    one, three, twelve = ulx3s(1), ulx3s(3), ulx3s(12)
    assert (one.fits, three.fits, twelve.fits) == (False, True, True)
    assert (one.lanes, one.fewest_boards, one.on_chip_boards) == (2, 3, 196)
    assert one.one_sequence_per_s == pytest.approx(2.6, abs=0.05)
    assert three.full_per_s == pytest.approx(7.7, abs=0.2)
    # More boards never make one sequence faster; the links make it a little slower.
    assert twelve.one_sequence_per_s < three.one_sequence_per_s < one.one_sequence_per_s
    assert twelve.full_per_s > 2.5 * three.full_per_s
    assert twelve.batch_per_s == pytest.approx(16 * twelve.full_per_s)
    rows = ulx3s(12, split="rows")
    assert rows.one_sequence_per_s == pytest.approx(14.3, rel=0.1)
    assert rows.hop_bytes == pytest.approx(240e3, rel=0.01)


def test_lanes_and_links() -> None:
    wide = ulx3s(1, lanes=96)
    assert wide.loads[0].bound == "memory"
    assert wide.one_sequence_per_s < ulx3s(1).one_sequence_per_s
    narrow = ulx3s(1, lanes=1)
    assert narrow.loads[0].bound == "engine"
    slow = ulx3s(12, link_mbit_s=0.05)
    assert slow.full_per_s == pytest.approx(1e6 * 0.05 / 8 / slow.hop_bytes, rel=0.01)


@pytest.mark.parametrize("options", [{"boards": 0}, {"lanes": 0}, {"sequences_per_word": 0},
                                     {"link_mbit_s": 0}, {"split": "columns"}])
def test_plans_that_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(PlanError, match=r"must be positive|by layers or rows, not by 'columns'"):
        ulx3s(**({"boards": 2} | options))  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="no memory is known of a board 'de10'"):
        plan_board("de10")


def test_a_board_that_holds_no_layer() -> None:
    plan = make_plan(Shape(layers=2, hidden=2560, inner=6912, vocabulary=32_000),
                     plan_board("tang-nano-20k"), 4)
    assert (plan.fits, plan.fewest_boards) == (False, 0)
    held = boards_that_hold(plan.shape)
    assert "tang-nano-20k" not in held
    assert plan_results(plan)["fewest_of_other_boards"] == held
    for name, fewest in held.items():
        other = plan_board(name)
        assert not other.roofline
        assert make_plan(plan.shape, other, 1).fewest_boards == fewest
        assert fewest * other.megabytes.value * 1e6 >= plan.whole.bytes
    assert plan_results(make_plan(plan.shape, plan_board("v80"), 1))[
        "fewest_of_other_boards"] is None


def test_results_are_json() -> None:
    results = json.loads(json.dumps(plan_results(ulx3s(3))))
    assert results["kind"] == "modelled"
    assert results["boundary"].startswith("boards only")
    assert results["cycles"] == sum(load["cycles"] for load in results["loads"])
    joules = results["joules_per_token"]["one_sequence"]
    assert joules["min"] < joules["expected"] < joules["max"]
    assert plan_results(make_plan(SHAPES["370M"], plan_board("v80"), 1))["kind"] == "roofline"
