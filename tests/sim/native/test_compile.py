"""Keys under which compiled designs are kept: whatever goes in, and nothing else, makes another."""

import importlib.resources
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trilight.boards.echo import Echo
from trilight.boards.icebreaker import Icebreaker
from trilight.hw.flow.build import Hdl, elaborate
from trilight.sim.native import compile as native
from trilight.sim.native.compile import RECIPE, Probe, compile_bench


@pytest.fixture(scope="module")
def echo() -> Hdl:
    return elaborate(Icebreaker(chip=Echo))


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys that were asked for; nothing is compiled."""
    found: list[str] = []

    def keep(_: str, key: str, __: object, **___: object) -> Path:
        found.append(key)
        return Path()

    monkeypatch.setattr(native, "cached", keep)
    return found


def test_same_design_has_the_same_key(echo: Hdl, keys: list[str]) -> None:
    compile_bench(echo)
    compile_bench(echo)
    assert keys[0] == keys[1]


@pytest.mark.parametrize("changed", ["nets", "cells", "harness", "adapter", "compiler",
                                     "verilator", "tools", "host", "design"])
def test_key_depends_on(changed: str, echo: Hdl, keys: list[str], tmp_path: Path,
                        monkeypatch: pytest.MonkeyPatch) -> None:
    compile_bench(echo)
    options: dict[str, Any] = {}
    if changed == "nets":
        options["probe"] = Probe(nets=("clk12_0__io",))
        compile_bench(echo, **options)
        # As many nets, but others: only the text of the bench tells them apart.
        options["probe"] = Probe(nets=("uart_0__rx__io",))
    elif changed == "compiler":
        options["recipe"] = replace(RECIPE, compiler=(*RECIPE.compiler, "-O0"))
    elif changed == "verilator":
        options["recipe"] = replace(RECIPE, verilator=(*RECIPE.verilator, "-O0"))
    elif changed == "tools":
        monkeypatch.setattr(native, "tool_versions", lambda *_, **__: {"verilator": "tomorrow"})
    elif changed == "host":
        monkeypatch.setattr(native, "host_key", lambda: "another processor")
    elif changed == "design":
        path = tmp_path / "design.v"
        path.write_text(echo.verilog.read_text() + "\n")
        echo = replace(echo, verilog=path)
    else:
        _edit(monkeypatch, {"cells": echo.board.toolchain.cells, "harness": "harness.cpp",
                            "adapter": "cxxrtl.h"}[changed], tmp_path)
    compile_bench(echo, **options)
    assert len(set(keys)) == len(keys)


def _edit(monkeypatch: pytest.MonkeyPatch, name: str, folder: Path) -> None:
    """Let one file of the package have another line."""
    files = importlib.resources.files

    class Edited:
        def __init__(self, package: str) -> None:
            self._package = files(package)

        def __truediv__(self, wanted: str) -> Any:
            if wanted != name:
                return self._package / wanted
            path = folder / "edited"
            path.write_text((self._package / wanted).read_text() + "\n// edited\n")
            return path

    monkeypatch.setattr(native.resources, "files", Edited)
