"""The virtual board's bench over a module that was compiled before."""

from collections.abc import Mapping
from typing import Any

from trilight.sim.native.bench import Bench, Trace

from .library import WasmLibrary, build_info_of

__all__ = ["WasmBench"]


class WasmBench(Bench):
    """A design that runs as WebAssembly.

    Parameters
    ----------
    code
        A module of ``compile_module``.

    Raises
    ------
    SimulationError
        It is no such module.
    """

    def __init__(self, code: bytes) -> None:
        known = build_info_of(code)
        self._build_info = known
        self._stopped = False
        super().__init__(WasmLibrary(code), [Trace(*trace) for trace in known["traces"]],
                         known["clocks_per_bit"], weights=range(known["weights"]))

    @property
    def build_info(self) -> Mapping[str, Any]:
        return {name: self._build_info[name]
                for name in ("design_sha256", "netlist_sha256", "tools")}

    def run(self, maximum: int, *, quiet: int | None = None, idle: int | None = None) -> int:
        return 0 if self._stopped else super().run(maximum, quiet=quiet, idle=idle)

    def stop(self) -> None:
        """Make all later calls of ``run`` return at once; one that runs comes to its end.

        A module must not be entered while it is at work.
        """
        self._stopped = True
