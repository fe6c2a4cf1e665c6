"""Baseline ``c``: the exported C program, one core.

It is what a microcontroller runs: partial sums of five activations are looked up by weight byte.
"""

from importlib.metadata import version

from trilight.sw.export.c import constant_bytes, ram_bytes
from trilight.sw.export.library import CProgram, c_compiler
from trilight.sw.model.model import Model

from . import BaselineInfo

__all__ = ["ExportedBaseline"]


class ExportedBaseline:
    """The integers of the reference in C99."""

    def __init__(self, model: Model) -> None:
        self.generate = CProgram(model).generate
        self._bytes = constant_bytes(model), ram_bytes(model)

    @property
    def info(self) -> BaselineInfo:
        return BaselineInfo(
            name="c", arithmetic="integers in C99, look-up of partial sums", software=_compiler(),
            model_bytes=self._bytes[0], working_bytes=self._bytes[1])


def _compiler() -> dict[str, str]:
    if "ziglang" in (compiler := c_compiler()):
        return {"ziglang": version("ziglang")}
    return {"compiler": " ".join(compiler)}
