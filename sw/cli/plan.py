"""``trilight plan``: what boards would do with a MatMul-free model."""

import enum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from trilight.hw.support.terminal import Console
from trilight.sw.checkpoint.model import ImportedModel
from trilight.sw.checkpoint.shape import SHAPES, Shape, named_shape
from trilight.sw.plan.boards import field_rows, plan_board
from trilight.sw.plan.cost import Plan, boards_that_hold, make_plan, plan_results

from .console import check_folder, write_json

__all__ = ["plan_command"]


class Split(enum.StrEnum):
    """Division of a model over boards."""

    LAYERS = "layers"
    ROWS = "rows"


def plan_command(
    model: Annotated[str, typer.Option(
        "--model", "-m", help=f"Published model ({', '.join(SHAPES)}), or a file that trilight "
                              "import wrote.")] = "370M",
    board: Annotated[str, typer.Option(
        "--board", "-b", help="Board, such as ulx3s-85f, orangecrab-85f, tang-nano-20k, "
                              "icebreaker; u250, u280 and v80 are rooflines.")] = "ulx3s-85f",
    boards: Annotated[int, typer.Option("--boards", "-n", min=1, max=10_000,
                                        help="How many of them.")] = 1,
    split: Annotated[Split, typer.Option(
        "--split", help="layers: each board has some layers whole, which multiplies throughput, "
                        "never the speed of one sequence. rows: each has a part of every matrix, "
                        "which speeds up one sequence and needs busier links.")] = Split.LAYERS,
    lanes: Annotated[int | None, typer.Option(
        "--lanes", min=1, max=4096, help="Weight bytes a cycle. Default: as many as the memory "
                                         "feeds.")] = None,
    sequences: Annotated[int, typer.Option(
        "--sequences", min=1, max=1024, help="Sequences that share each weight word.")] = 16,
    link: Annotated[float, typer.Option(
        "--link", min=0.001, help="Link between boards, Mbit/s.")] = 50.0,
    json_file: Annotated[Path | None, typer.Option(
        "--json", metavar="FILE", help="Also write the plan to this file as JSON.")] = None,
    why: Annotated[bool, typer.Option(
        "--why", help="Also show where each figure of the board is from.")] = False,
) -> None:
    """Say what any number of boards would do with a MatMul-free model.

    Computed from sizes: nothing is run. Which board has which layers and what bounds it, tokens a
    second for one sequence and for many, joules with what is assumed of the boards, and beside it
    what others publish and what their figures cover. The embedding stays on the host in every
    figure.
    """
    check_folder(json_file)
    shape = named_shape(model) if model in SHAPES else _shape_of(model)
    plan = make_plan(shape, plan_board(board), boards, split=split.value, lanes=lanes,
                     sequences_per_word=sequences, link_mbit_s=link)
    print_plan(model, plan, why=why, console=Console())
    if json_file is not None:
        write_json(json_file, {"model": model, **plan_results(plan),
                               "field": [vars(row) for row in field_rows()]})


def _shape_of(model: str) -> Shape:
    path = Path(model)
    return ImportedModel.load(path, verify=False).shape if path.exists() else named_shape(model)


def print_plan(model: str, plan: Plan, *, why: bool, console: Console) -> None:
    """Show a plan."""
    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    shape, board = plan.shape, plan.board
    padding = plan.whole.bytes / (shape.ternary_weights / 5) - 1
    say(f"{model}: {shape.layers} layers, {shape.hidden} / {shape.inner}, {shape.vocabulary:,} "
        f"tokens; {shape.ternary_weights:,} ternary weights, {plan.whole.bytes / 1e6:.1f} MB "
        f"packed ({padding:.1%} padding)")
    speed = board.megabytes_per_s
    say(f"{board.name}: {board.memory}, {speed.value:g} MB/s sustained ({speed.kind}: "
        f"{speed.source}), {plan.lanes} byte lanes at {board.clock_mhz.value:g} MHz "
        f"({board.clock_mhz.kind})")
    if board.roofline:
        say("ROOFLINE: no design of this project is placed or routed on this part; memory and "
            "lanes bound what any could do")
    say(_fit_line(plan))
    if not plan.fits:
        others = [f"{fewest} x {name}" for name, fewest in boards_that_hold(shape).items()]
        say(f"it would fit {', '.join(others) or 'no board that is known'}, layers whole")
    console.print(_load_table(plan))
    say(_speed_lines(plan))
    say(_joules_line(plan))
    if why:
        for name in ("megabytes", "megabytes_per_s", "clock_mhz", "max_lanes",
                     "weight_bytes_on_chip", "watts"):
            figure = getattr(board, name)
            say(f"  {name.replace('_', ' ')}: {figure.value:g}, {figure.kind}: {figure.source}")
    say(_field_lines())


def _fit_line(plan: Plan) -> str:
    size, capacity = plan.whole.bytes / 1e6, plan.board.megabytes.value
    one = "yes" if size <= capacity else f"no ({size:.1f} of {capacity:g} MB)"
    fewest = (f"{plan.fewest_boards} boards hold it, layers whole" if plan.fewest_boards
              else "no number of boards, layers whole: one part alone is too large")
    asked = "" if plan.fits else f"; {plan.boards} as asked do NOT"
    return (f"fits? one board {one} - {fewest}{asked} - all in block RAM: "
            f"{plan.on_chip_boards:,} boards")


def _load_table(plan: Plan) -> Table:
    table = Table(box=None)
    for title in ("board", "layers", "MB", "ms/token", "bound by"):
        table.add_column(title, justify="left" if title in ("layers", "bound by") else "right")
    loads = list(enumerate(plan.loads, 1))
    for number, load in loads if plan.split == "layers" else loads[:1]:
        name = str(number) if plan.split == "layers" else f"each of {len(loads)}"
        table.add_row(name, load.what, f"{load.work.bytes / 1e6:.1f}",
                      f"{load.milliseconds:.1f}", load.bound)
    return table


def _sequences(count: int) -> str:
    return f"{count} sequence{'' if count == 1 else 's'}"


def _speed_lines(plan: Plan) -> str:
    one = (f"one sequence {plan.one_sequence_per_s:.2f} tokens/s "
           f"({1e3 / plan.one_sequence_per_s:.0f} ms a token")
    many = (f"{_sequences(plan.sequences_per_word)} on each word {plan.batch_per_s:.0f} tokens/s")
    if plan.split == "rows":
        return (f"links  {plan.hop_bytes / 1e3:.0f} kB a token, {plan.link_milliseconds:.1f} ms\n"
                f"{one}) | {many}\n"
                "rows split speed up one sequence; links are busy with every matrix")
    links = (f"links  {plan.hop_bytes / 1e3:.1f} kB a hop, {plan.link_milliseconds:.2f} ms a "
             "token in all\n" if len(plan.loads) > 1 else "")
    each = f"{_sequences(len(plan.loads))} {plan.full_per_s:.1f} tokens/s"
    return (f"{links}{one}) | {each} | {many}\n"
            "layers split multiply throughput, never the speed of one sequence (see --split rows)")


def _joules_line(plan: Plan) -> str:
    def rate(tokens_per_s: float) -> str:
        expected, low, high = plan.joules(tokens_per_s)
        return f"{expected:.3g} ({low:.3g} to {high:.3g})"

    watts, (low, high) = plan.board.watts, plan.board.watts_from_to
    return (f"joules per token, modelled: {rate(plan.full_per_s)} with "
            f"{_sequences(len(plan.loads))}, {rate(plan.batch_per_s)} with "
            f"{plan.sequences_per_word} on each word; boards {watts.value:g} W "
            f"({watts.kind}, {low:g} to {high:g}), host not counted")


def _field_lines() -> str:
    lines = ["beside it, as published:"]
    lines += [f"  {row.name} ({row.model}): {row.figure}, {row.kind}; {row.covers}"
              for row in field_rows()]
    return "\n".join(lines)
