"""Trilight: a MatMul-free ternary language model on a small FPGA.

In a notebook or a script:

    import trilight

    with trilight.open_board("reference") as board:  # or "netlist", "serial:/dev/ttyUSB1"
        board.load()
        for token in board.generate("ROMEO:", tokens=200, temperature=0.8, seed=7):
            print(token, end="", flush=True)
        figures = trilight.report(board)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trilight.sw.api import open_board, report
    from trilight.sw.host.driver import Board
    from trilight.sw.model.model import Model

__all__ = ["Board", "Model", "open_board", "report"]

_HOMES = {"Board": "sw.host.driver", "Model": "sw.model.model", "open_board": "sw.api",
          "report": "sw.api"}


def __getattr__(name: str) -> Any:
    # Loaded when asked for, so that a part of the package needs only its own requirements.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
