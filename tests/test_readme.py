"""What the README shows works as shown."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from trilight.sw.cli import main

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")


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
