"""A compiled design as a WebAssembly module, run by wasmtime."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import wasmtime

from trilight.sim.native.library import Argument
from trilight.sw.errors import SimulationError

__all__ = ["BUILD_INFO", "WasmLibrary", "build_info_of", "with_build_info"]

BUILD_INFO = "trilight"
"""Custom section of a module that says, in JSON, what it was made from."""

_HEADER = b"\0asm\1\0\0\0"


class WasmLibrary:
    """A module's functions; see ``trilight.sim.native.library.Library``.

    Parameters
    ----------
    code
        The module.

    Raises
    ------
    SimulationError
        It is no such module.
    """

    def __init__(self, code: bytes) -> None:
        engine = wasmtime.Engine()
        self._store = wasmtime.Store(engine)
        # An empty environment, without files and clocks of this computer.
        self._store.set_wasi(wasmtime.WasiConfig())
        linker = wasmtime.Linker(engine)
        linker.define_wasi()
        try:
            instance = linker.instantiate(self._store, wasmtime.Module(engine, code))
        except wasmtime.WasmtimeError as error:
            raise SimulationError(f"the module of the design cannot be run: {error}; make it again "
                                  "with trilight build --release") from error
        self._exports = instance.exports(self._store)
        self._memory: Any = self._exports["memory"]
        self._call("_initialize")

    def call(self, name: str, *arguments: Argument) -> int:
        """Call ``bench_<name>``; see ``Library``."""
        buffers: list[tuple[int, Argument]] = []
        numbers: list[int] = []
        for argument in arguments:
            if isinstance(argument, bytes | np.ndarray):
                data = argument if isinstance(argument, bytes) else argument.tobytes()
                place = self._call("malloc", max(len(data), 1))
                self._memory.write(self._store, data, place)
                buffers.append((place, argument))
                numbers.append(place)
            else:
                numbers.append(argument or 0)
        try:
            result = self._call(f"bench_{name}", *numbers)
            for place, buffer in buffers:
                if isinstance(buffer, np.ndarray):
                    data = self._memory.read(self._store, place, place + buffer.nbytes)
                    buffer[...] = np.frombuffer(data, buffer.dtype).reshape(buffer.shape)
        finally:
            for place, _ in buffers:
                self._call("free", place)
        return result

    def _call(self, name: str, *numbers: int) -> int:
        """Call a function with unsigned numbers, of which WebAssembly knows only signed ones."""
        function: Any = self._exports[name]
        kind = function.type(self._store)
        signed = []
        for number, type_ in zip(numbers, kind.params, strict=True):
            bits = _bits(type_)
            number &= (1 << bits) - 1
            signed.append(number - (number >> bits - 1 << bits))
        result = function(self._store, *signed)
        return result & (1 << _bits(kind.results[0])) - 1 if kind.results else 0


def _bits(kind: wasmtime.ValType) -> int:
    return 64 if kind == wasmtime.ValType.i64() else 32


def with_build_info(code: bytes, build_info: dict[str, Any]) -> bytes:
    """Return a module with a custom section that holds ``build_info``."""
    name = BUILD_INFO.encode()
    body = (_leb128(len(name)) + name
            + json.dumps(build_info, separators=(",", ":"), sort_keys=True).encode())
    return code + b"\0" + _leb128(len(body)) + body


def build_info_of(code: bytes) -> dict[str, Any]:
    """Return what ``with_build_info`` has added.

    Raises
    ------
    SimulationError
        The module is none, or has no such section.
    """
    name = BUILD_INFO.encode()
    try:
        for kind, body in _sections(code):
            size, start = _read_leb128(body, 0)
            if kind == 0 and body[start:start + size] == name:
                found: dict[str, Any] = json.loads(body[start + size:])
                return found
    except (IndexError, ValueError) as error:
        raise SimulationError(f"the module of a design is damaged: {error}") from error
    raise SimulationError("the module of a design must say what it was made from, and this does "
                          "not; make it again with trilight build --release")


def _sections(code: bytes) -> Iterator[tuple[int, bytes]]:
    if code[:len(_HEADER)] != _HEADER:
        raise ValueError(f"it begins with {code[:len(_HEADER)]!r}")
    place = len(_HEADER)
    while place < len(code):
        size, start = _read_leb128(code, place + 1)
        yield code[place], code[start:start + size]
        place = start + size


def _leb128(number: int) -> bytes:
    """Return an unsigned number, seven bits to a byte, the low ones first."""
    data = b""
    while number >= 0x80:
        data += bytes((number & 0x7F | 0x80,))
        number >>= 7
    return data + bytes((number,))


def _read_leb128(data: bytes, place: int) -> tuple[int, int]:
    """Return the number that begins at ``place``, and where it ends."""
    number = shift = 0
    while True:
        byte = data[place]
        place += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, place
