"""``trilight calibrate``: the power model fitted to one board."""

from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import entry_points
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer
from rich.markup import escape

from trilight.hw.support.boards import DEFAULT_BOARD
from trilight.hw.support.terminal import Console
from trilight.sw.api import open_board
from trilight.sw.errors import CalibrationError
from trilight.sw.host.driver import Board
from trilight.sw.meters.base import SYSTEM_CLOCK, ask_on_terminal, open_meter
from trilight.sw.meters.calibrate import Calibration
from trilight.sw.meters.fake import SimulatedClock
from trilight.sw.meters.guide import Flash, Guide, GuidedDesign, Pretence
from trilight.sw.meters.wiring import wiring
from trilight.sw.power import Activity, load_coefficients
from trilight.sw.power.fit import calibration_points, save_fit
from trilight.sw.report.releases import load_releases

from .console import check_folder

__all__ = ["FLASHERS", "calibrate_command"]

FLASHERS = "trilight.flashers"
"""Entry points group: for each board a function that takes the name of a calibration design, or
``None`` for the accelerator, and a progress callback, and puts it on the board, running."""

DRY_METER = "fake:core,noise=0.003"
DRY_OHMS = 120.0
PROMPT, TOKENS = "The ", 100


def calibrate_command(
    meter: Annotated[str, typer.Option(
        "--meter", "-m", metavar="METER", help="Meter in the core rail, as in "
        "ina226:1/0x40,shunt=1.0; trilight meter list shows all.")] = DRY_METER,
    target: Annotated[str | None, typer.Option(
        "--target", help="Where the accelerator answers when it is flashed: serial:PORT.")] = None,
    board: Annotated[str, typer.Option("--board", help="Board.")] = DEFAULT_BOARD,
    resistor: Annotated[float | None, typer.Option(
        "--resistor", "-r", metavar="OHM", help="Known load, to check the meter with first.",
    )] = None,
    tolerance: Annotated[float, typer.Option(
        "--tolerance", help="Limit of the resistor's error, as a fraction.")] = 0.01,
    out: Annotated[Path | None, typer.Option(
        "--out", "-o", metavar="FILE", help="Coefficients of this board. \\[default: "
                                            "trilight-coefficients.json]")] = None,
    state: Annotated[Path | None, typer.Option(
        "--state", metavar="FILE", help="Where every step is kept, and gone on from. \\[default: "
                                        "trilight-calibration.json]")] = None,
    repeats: Annotated[int, typer.Option("--repeats", min=3, help="Means per design.")] = 5,
    settle: Annotated[float, typer.Option(
        "--settle", min=1.0, help="Seconds to settle after a design starts.")] = 10.0,
    average: Annotated[float, typer.Option(
        "--average", min=1.0, help="Seconds per mean.")] = 10.0,
    dry_run: Annotated[bool, typer.Option(
        "--dry-run", help="Try the procedure: no board, no meter, no waiting; the readings follow "
                          "coefficients that the calibration does not know.")] = False,
) -> None:
    """Fit the power model to one board, with a meter in its core rail.

    Small designs of known activity are flashed and metered one after the other. Then the
    accelerator is predicted, measured, and the error kept as what the model may be off by.
    Ctrl-C at any time; the same command goes on. docs/measuring.md shows the wiring.
    """
    console = Console()
    # A dry run must not take the place of a calibration.
    prefix = "dry-run" if dry_run else "trilight"
    out = out or Path(f"{prefix}-coefficients.json")
    state = state or Path(f"{prefix}-calibration.json")
    for path in (out, state):
        check_folder(path)
    releases = load_releases()
    if board not in releases:
        raise CalibrationError(f"there is no board {board!r} with a released build; there is "
                               f"{', '.join(sorted(releases))}")
    release = releases[board]
    accelerator = GuidedDesign(
        busy=Activity.from_dict(release["activity"]["busy"]),
        idle=Activity.from_dict(release["activity"]["idle"]), clock_hz=release["clock_hz"],
        pll=release["pll"], cycles_per_token=release["cycles_per_token"])
    clock = SimulatedClock() if dry_run else SYSTEM_CLOCK
    instrument = open_meter(meter, clock=clock)
    points, prior = calibration_points(), load_coefficients()
    flash: Flash
    generate: Callable[[float], int]
    ask: Callable[[str], object]
    with ExitStack() as stack:
        if dry_run:
            pretence = Pretence(instrument, points, accelerator, prior, clock)
            flash, generate, ask = pretence.flash, pretence.generate, pretence.connect(
                resistor or DRY_OHMS)
            calibration = Calibration.begin(meter, "none: dry run")
        else:
            if meter.startswith("fake"):
                raise CalibrationError("a calibration needs a meter, as in --meter "
                                       "ina226:1/0x40,shunt=1.0; --dry-run tries it without one")
            if target is None:
                raise CalibrationError("a calibration ends with the accelerator: say where it "
                                       "answers, as in --target serial:/dev/ttyUSB1")
            flash, generate, ask = (_flasher(board, console), _Generator(target, stack),
                                    ask_on_terminal)
            calibration = (Calibration.resume(state, meter=meter, board=board)
                           if state.exists() else Calibration.begin(meter, board))
        guide = Guide(calibration=calibration, state=state, meter=instrument, points=points,
                      prior=prior, accelerator=accelerator, flash=flash, generate=generate,
                      console=console, clock=clock, repeats=repeats, settle_s=settle,
                      average_s=average)
        console.print(escape(wiring(meter)), highlight=False)
        guide.announce()
        if not calibration.readings:
            ask("Connect it, and press Enter. ")
        if resistor is not None or dry_run:
            guide.check_meter(resistor or DRY_OHMS, tolerance, ask)
        fitted = guide.run()
    save_fit(fitted, out)
    console.print(f"Coefficients of this board: {escape(str(out))}; what was metered: "
                  f"{escape(str(state))}", highlight=False, soft_wrap=True)


def _flasher(board: str, console: Console) -> Flash:
    entries = entry_points(group=FLASHERS, name=board)
    if not entries:
        raise CalibrationError(f"designs cannot be flashed to board {board!r}")
    flash: Callable[[str | None, Callable[[str], None]], None] = next(iter(entries)).load()
    return lambda name: flash(name, lambda text: console.print(escape(text), style="dim"))


class _Generator:
    """Generates on a board that is opened when it is first needed, after it was flashed."""

    def __init__(self, target: str, stack: ExitStack) -> None:
        self._target = target
        self._stack = stack
        self._board: Board | None = None

    def __call__(self, seconds: float) -> int:
        if self._board is None:
            self._board = self._stack.enter_context(open_board(self._target))
            self._board.load()
        end = monotonic() + seconds
        tokens = 0
        while tokens == 0 or monotonic() < end:
            tokens += sum(1 for _ in self._board.generate(PROMPT, tokens=TOKENS, seed=tokens))
        return tokens
