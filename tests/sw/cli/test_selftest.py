"""``trilight selftest`` and the form that its file goes into."""

import json
from pathlib import Path

import pytest

from trilight.sw.cli.app import main
from trilight.sw.host.selftest import SCHEMA, Verdict

yaml = pytest.importorskip("yaml", reason="PyYAML comes with distributed")


def test_selftest_of_the_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "selftest.json"
    assert main(["selftest", "--target", "reference", "--json", str(file)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "pass"
    found = json.loads(file.read_text())
    assert found["schema"] == SCHEMA
    assert found["verdict"] == "pass"
    assert found["version"]
    tokens = next(each for each in found["findings"] if each["step"] == "tokens")
    assert tokens["figures"]["found"] == tokens["figures"]["expected"]


def test_the_form_knows_every_verdict(root: Path) -> None:
    form = yaml.safe_load(
        (root / ".github" / "ISSUE_TEMPLATE" / "different-numbers.yml").read_text())
    fields = {field.get("id"): field for field in form["body"]}
    assert set(fields["verdict"]["attributes"]["options"]) >= {word.value for word in Verdict}
    assert "trilight selftest" in form["body"][0]["attributes"]["value"]
