"""The exported C program as a library of this computer."""

import ctypes
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from trilight.hw.support.cache import cached, digest, zig_environment
from trilight.hw.support.extras import pip_install
from trilight.sw.errors import ExportError
from trilight.sw.model.model import Model
from trilight.sw.reference.sampler import temperature_to_fixed

from .c import SOURCE, export_c, ram_bytes

__all__ = ["CProgram", "c_compiler", "compile_c"]

FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror")


def c_compiler() -> list[str]:
    """Return the command that compiles C: ``CC``, else zig from PyPI, else ``cc``.

    Raises
    ------
    ExportError
        There is none.
    """
    if chosen := os.environ.get("CC"):
        return shlex.split(chosen)
    if find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc"]
    if found := shutil.which("cc"):
        return [found]
    raise ExportError("there is no C compiler: set CC to one, install one as cc, or run: "
                      + pip_install("ziglang"))


def compile_c(arguments: Sequence[str], folder: Path) -> None:
    """Run the compiler in a folder, with the flags that the program is tested with.

    Raises
    ------
    ExportError
        It failed; the text holds what it said.
    """
    environment = {**zig_environment(), **os.environ}
    command = [*c_compiler(), *FLAGS, *arguments]
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True,
                              errors="replace", check=False)
    except OSError as error:
        raise ExportError(f"the C compiler {command[0]} cannot be run: {error.strerror}; set CC "
                          "to another") from error
    if done.returncode:
        raise ExportError(f"the C compiler failed: {shlex.join(command)}\n{done.stderr.strip()}")


class CProgram:
    """Generator of tokens by the exported program of a model, compiled for this computer.

    Raises
    ------
    ExportError
        There is no C compiler, or it failed.
    """

    def __init__(self, model: Model) -> None:
        def make(folder: Path) -> None:
            export_c(model, folder)
            compile_c(["-DTRILIGHT_NO_MAIN", "-shared", "-fPIC", "-o", "model.so", SOURCE], folder)

        key = digest(model.sha256, (Path(__file__).parent / SOURCE).read_bytes(),
                     *model.vocab, *c_compiler(), *FLAGS)
        self._library = ctypes.CDLL(str(cached("export", key, make) / "model.so"))
        self._library.trilight_logits.restype = ctypes.POINTER(ctypes.c_int16)
        self._vocab_size = model.config.vocab_size
        self._state = (ctypes.c_int32 * -(-ram_bytes(model) // 4))()

    def reset(self, seed: int) -> None:
        """Forget what was read, and seed the random generator."""
        self._library.trilight_reset(self._state, ctypes.c_uint32(seed))

    def feed(self, token: int) -> None:
        """Read a token."""
        self._library.trilight_feed(self._state, token)

    def logits(self) -> list[int]:
        """Logits of the token after those that were read, Q9.6."""
        return list(self._library.trilight_logits(self._state)[:self._vocab_size])

    def generate(self, prompt: Sequence[int], *, tokens: int, temperature: float,
                 seed: int) -> list[int]:
        """Return ``tokens`` tokens after a prompt of one or more, from a clean state."""
        fixed = temperature_to_fixed(temperature)
        self.reset(seed)
        *before, token = prompt
        for fed in before:
            self.feed(fed)
        generated = []
        for _ in range(tokens):
            token = self._library.trilight_next(self._state, token, fixed)
            generated.append(token)
        return generated
