"""Host side of Trilight: reference numerics, model files, driver, energy model, command line.

In a notebook or a script:

    from trilight.sw import open_board

    with open_board("reference") as board:
        board.load()
        for token in board.generate("ROMEO:", tokens=200, temperature=0.8, seed=7):
            print(token, end="", flush=True)
        print(board.last_run.cycles_per_token)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trilight.sw.host.driver import Board
    from trilight.sw.model.model import Model

    from .api import open_board

__all__ = ["Board", "Model", "open_board"]

_HOMES = {"Board": "host.driver", "Model": "model.model", "open_board": "api"}


def __getattr__(name: str) -> Any:
    # Loaded when asked for, so that a part of the package needs only its own requirements.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
