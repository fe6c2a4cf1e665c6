"""The few functions that a notebook starts from."""

from collections.abc import Callable
from pathlib import Path

from trilight.sw.host.driver import Board
from trilight.sw.host.targets import open_transport
from trilight.sw.report.notebook import Report
from trilight.sw.report.releases import load_releases
from trilight.sw.report.report import build_report
from trilight.sw.report.run import Run

from .errors import ReportError

__all__ = ["open_board", "report"]


def open_board(target: str = "reference", *,
               progress: Callable[[str], None] | None = None, from_source: bool = False,
               boot: bool = False, waves: Path | None = None) -> Board:
    """Open a board; use it in a ``with`` statement, or close it.

    Parameters
    ----------
    target
        ``reference``, ``rtl``, ``netlist``, ``bitstream`` or ``serial:PORT``.
    progress
        Called with a short message when something that takes seconds begins.
    from_source
        Synthesise and compile the design although a bundled one is there.
    boot
        Of a simulated chip: have the weights in its memory as after a boot from flash, rather than
        sent through its pins. Either way the chip is asked for their CRC.
    waves
        File to draw every signal of a simulated chip into, as VCD, while it runs: some ten
        megabytes a token.

    Raises
    ------
    TargetError
        No such target, or it misses something on this computer.
    LinkError, WrongDeviceError
        No Trilight answers there.
    """
    transport = open_transport(target, progress or (lambda _message: None),
                               from_source=from_source, boot=boot, waves=waves)
    try:
        return Board(transport)
    except BaseException:
        transport.close()
        raise


def report(board: Board) -> Report:
    """The report of the board's last generation; see ``docs/report.md``.

    Raises
    ------
    ReportError
        Nothing has been generated yet.
    """
    if not isinstance(board, Board):
        raise ReportError(f"a report is of a board that has generated, not of {board!r}")
    if board.model is None or board.last_run is None:
        raise ReportError("there is nothing to report yet; generate some tokens first")
    run = Run(model=board.model, target=board.transport.name, generation=board.last_run,
              device=board.identity.device,
              clock_hz=board.identity.clock_hz, build_id=board.identity.build_id,
              **board.transport.build_info)
    return Report(build_report(run, load_releases()))
