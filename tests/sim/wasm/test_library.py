"""What goes into a module's functions and comes back, and what a module says of itself."""

import random

import numpy as np
import pytest
import wasmtime

from trilight.sim.wasm.library import WasmLibrary, build_info_of, with_build_info
from trilight.sw.errors import SimulationError

# Functions as a harness has them: numbers of both sizes, bytes to read, words to write.
MODULE = """(module
  (memory (export "memory") 2)
  (global $next (mut i32) (i32.const 1024))
  (global $freed (mut i32) (i32.const 0))
  (func (export "_initialize"))
  (func (export "malloc") (param i32) (result i32)
    (global.get $next)
    (global.set $next (i32.add (global.get $next)
                               (i32.and (i32.add (local.get 0) (i32.const 15)) (i32.const -8)))))
  (func (export "free") (param i32) (global.set $freed (i32.add (global.get $freed) (i32.const 1))))
  (func (export "bench_freed") (result i32) (global.get $freed))
  (func (export "bench_same") (param i64) (result i64) (local.get 0))
  (func (export "bench_small") (param i32) (result i32) (local.get 0))
  (func (export "bench_nothing"))
  (func (export "bench_first") (param i32) (result i32) (i32.load8_u (local.get 0)))
  (func (export "bench_fill") (param i32 i64)
    (i64.store (local.get 0) (local.get 1))
    (i64.store (i32.add (local.get 0) (i32.const 8)) (i64.add (local.get 1) (i64.const 1)))))
"""


@pytest.fixture(scope="module")
def code() -> bytes:
    return bytes(wasmtime.wat2wasm(MODULE))


@pytest.fixture
def library(code: bytes) -> WasmLibrary:
    return WasmLibrary(code)


def test_numbers_are_unsigned_both_ways(library: WasmLibrary, seed: int) -> None:
    rng = random.Random(seed)
    for number in (0, 1, 2**63 - 1, 2**63, 2**64 - 1, rng.getrandbits(64)):
        assert library.call("same", number) == number
    for number in (0, 2**31 - 1, 2**31, 2**32 - 1, rng.getrandbits(32)):
        assert library.call("small", number) == number
    assert library.call("small", -1) == 2**32 - 1
    assert library.call("nothing") == 0


def test_bytes_go_in_and_arrays_come_back(library: WasmLibrary) -> None:
    assert library.call("first", b"\xa5\x00") == 0xA5
    values = np.zeros(2, np.uint64)
    library.call("fill", values, 2**64 - 2)
    assert values.tolist() == [2**64 - 2, 2**64 - 1]
    assert library.call("freed") == 2


def test_build_info_comes_back(code: bytes) -> None:
    build_info = {"board": "some", "traces": [["running", 1, False]], "long": "x" * 300}
    told = with_build_info(code, build_info)
    assert build_info_of(told) == build_info
    assert WasmLibrary(told).call("same", 3) == 3


def test_module_without_build_info_is_refused(code: bytes) -> None:
    with pytest.raises(SimulationError, match="must say what it was made from"):
        build_info_of(code)


@pytest.mark.parametrize("damage", [b"", b"\0asm", b"no module at all"])
def test_what_is_no_module_is_refused(damage: bytes) -> None:
    with pytest.raises(SimulationError, match=r"is damaged|must say"):
        build_info_of(damage)
    with pytest.raises(SimulationError, match="cannot be run"):
        WasmLibrary(damage)


def test_any_cut_is_noticed(code: bytes) -> None:
    told = with_build_info(code, {"board": "some"})
    for end in range(len(code) + 1, len(told)):
        with pytest.raises(SimulationError):
            build_info_of(told[:end])
