"""What the README shows works as shown."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from trilight.boards.releases import icebreaker
from trilight.hw.support.boards import board_device
from trilight.sw.cli.app import main
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model
from trilight.sw.report.performance import predict

DEVICE = board_device()

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_python_example_generates_text(tmp_path: Path) -> None:
    [example] = re.findall(r"^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    [count] = re.findall(r"tokens=(\d+)", example)
    check = 'print()\nprint(figures["schema"])\n'
    result = subprocess.run([sys.executable, "-W", "error", "-c", example + check],
                            capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 0, result.stderr
    text, schema = result.stdout.removesuffix("\n").rsplit("\n", 1)
    assert len(text) == int(count)
    assert schema.startswith("trilight/report/")


COMMANDS = sorted(set(re.findall(r"(?:`|\.venv/bin/)trilight ([a-z]+)", README)))


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_exist(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"trilight {command}" in capsys.readouterr().out


def test_figures_of_the_build_are_those_of_the_release() -> None:
    release = icebreaker()
    fmax = [f"{hz / 1e6:.1f}" for hz in release["fmax_hz"].values()]
    cells = release["resources"]["lc"]
    engine = release["logic_cells"]["tables"] + release["logic_cells"]["row_sums"]
    assert f"| {', '.join(fmax)} MHz |" in README
    assert f"{', '.join(fmax[:-1])} and {fmax[-1]} MHz" in ARCHITECTURE
    assert f"of seed {release['seed']}" in ARCHITECTURE
    assert f"| {cells:,} of 5,280;" in README
    assert f"{cells:,} of 5,280 logic cells" in ARCHITECTURE
    assert f"| {engine}, or {engine / 40:.1f} for each weight used in a cycle |" in README


def test_figures_of_performance_are_computed() -> None:
    config, clock = Model.load(default_model_path()).config, icebreaker()["clock_hz"]
    one, two = (predict(config, sequences=count, device=DEVICE) for count in (1, 2))
    for value, form in ((lambda p: p.cycles_per_token, ",.0f"), (lambda p: p.utilisation, ".3f"),
                        (lambda p: clock / p.cycles_per_token, ",.0f")):
        assert f"| {value(one):{form}}; {value(two):{form}} with two sequences" in README


def test_quality_is_that_of_the_model() -> None:
    about = Model.load(default_model_path()).provenance
    for key in ("quality", "quality_windows"):
        quality = about[key]
        assert f"| {quality['bits_per_byte']:.3f} ({quality['nats_per_char']:.3f})" in README
