"""The command for somebody who sees Trilight for the first time."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from trilight.hw.flow.build import find_board, synthesise
from trilight.hw.support.boards import DEFAULT_BOARD
from trilight.hw.support.cache import cache_root
from trilight.hw.support.terminal import Console, visible
from trilight.hw.support.tools import Progress
from trilight.sim.wasm.release import released_module
from trilight.sw.cli.console import check_folder, write_file
from trilight.sw.cli.generate import generate
from trilight.sw.errors import TargetError
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model
from trilight.sw.report.releases import load_releases

from .page import make_page

__all__ = ["demo_command", "page_of"]

def demo_command(
    web: Annotated[bool, typer.Option(
        "--web", help="As a page in a browser instead: one file, which needs no server and no "
                      "network, and can be kept or sent.")] = False,
    out: Annotated[Path | None, typer.Option(
        "--out", "-o", metavar="FILE", help="With --web: write the page there, and open no "
                                            "browser.")] = None,
    from_source: Annotated[bool, typer.Option(
        "--from-source", help="Synthesise and compile the chip, although the released one came "
                              "along compiled. Takes some minutes the first time.")] = False,
    json_file: Annotated[Path | None, typer.Option(
        "--json", metavar="FILE", help="Also write the report to this file as JSON.")] = None,
) -> None:
    """Generate a text on the simulated chip, in the terminal or in a browser.

    The chip is the synthesised netlist of the released design, driven through its serial pins. The
    weights are in its memory at the start, as after a boot from flash.
    """
    if not web:
        if out is not None:
            raise TargetError("--out is where the page goes; add --web to get one")
        generate(prompt=["ROMEO:"], tokens=200, temperature=0.8, seed=7, target="netlist",
                 boot=True, from_source=from_source, json_file=json_file)
        return
    if json_file is not None:
        raise TargetError("a page makes no report; leave out --json or --web")
    console = Console(stderr=True)
    page = out or cache_root() / "trilight.html"
    if out is None:
        page.parent.mkdir(parents=True, exist_ok=True)
    check_folder(page)
    text = page_of(DEFAULT_BOARD, from_source=from_source,
                   progress=lambda message: console.print(escape(message), style="dim"))
    write_file(page, text.encode())
    print(visible(str(page)))
    if out is None and not webbrowser.open(page.absolute().as_uri()):
        console.print("no browser could be opened; open the file yourself", style="dim")


def page_of(board: str, *, from_source: bool, progress: Progress) -> str:
    """Return the page of a board's chip, the released one or the one that its sources describe.

    Raises
    ------
    TargetError
        The design is not the released one, and is not to be compiled.
    BuildError, SimulationError
        It cannot be compiled.
    """
    if from_source:
        from trilight.sim.wasm.compile import compile_module

        code = compile_module(synthesise(find_board(board), progress), progress)
    else:
        released = released_module(board)
        if released is None:
            raise TargetError(f"the design of {board} is another than the released one, which "
                              "is bundled compiled; add --from-source to compile it now")
        code = released
    return make_page(code, load_releases()[board], Model.load(default_model_path()))
