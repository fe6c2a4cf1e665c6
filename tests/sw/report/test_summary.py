"""The summary of what checks have left."""

import json
from pathlib import Path

import pytest

from trilight.sw.errors import ReportError
from trilight.sw.report.summary import (
    NOT_RUN,
    Section,
    gather,
    markdown_summary,
    read_sections,
    text_summary,
    write_section,
)


def test_topic_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_section("mutation", "Mutants", [("killed", 1234, "of 1,240"), ("module", "engine", "")],
                seed=3, command="make mutation", folder=tmp_path)
    assert read_sections(tmp_path) == {"mutation": Section(
        title="Mutants", rows=(("killed", 1234, "of 1,240"), ("module", "engine", "")), seed=3,
        command="make mutation")}
    assert [path.name for path in tmp_path.iterdir()] == ["mutation.json"]


def test_what_is_missing_is_not_run(tmp_path: Path) -> None:
    write_section("extra", "Something", [("figure", 0.12345, "s")], folder=tmp_path)
    lines = text_summary(gather(tmp_path), ["faults"])
    assert lines == ["Faults", f"  {NOT_RUN}", "Something",
                     f"  {'figure':<34} 0.1235 s"]
    assert f"| {NOT_RUN} |" in markdown_summary(gather(tmp_path), ["faults"])


def test_markdown_keeps_its_columns() -> None:
    section = Section(title="T", rows=(("a|b", 1000000, "x"),), command="make t", seed=5)
    assert "| a\\|b | 1,000,000 x |" in markdown_summary({"t": section}, [])
    assert "| seed | 5 |" in markdown_summary({"t": section}, [])


def test_guard_and_demo_are_topics(tmp_path: Path) -> None:
    (tmp_path / "guard.json").write_text(json.dumps([
        {"figure": "logic cells", "unit": "LC", "found": 3500, "recorded": 3456.0}]))
    figure = {"value": 1234.5, "unit": "tokens/J", "provenance": "modelled", "reason": None,
              "interval": {"p05": 600, "p50": 1234.5, "p95": 2500}}
    missing = {"value": None, "unit": "tokens/s", "provenance": None, "interval": None,
               "reason": "no clock"}
    (tmp_path / "demo.json").write_text(json.dumps({"figures": {
        "tokens_per_s": missing, "joules_per_token": figure, "tokens_per_joule": figure,
        "bits_per_byte": figure}}))
    sections = gather(tmp_path / "ci")
    assert [sections[name].command for name in ("build", "energy")] == ["make guard", "make demo"]
    assert sections["build"].rows == (("logic cells", 3500, "LC (recorded 3,456)"),)
    assert sections["energy"].rows[:2] == (
        ("tokens_per_s", "not known", "(no clock)"),
        ("joules_per_token", 1234.5, "tokens/J (modelled, 90 % within 600 to 2.5e+03)"))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"title": "x"}', '{"title": "x", "rows": [1]}',
                                  '{"title": "x", "rows": [["a", null, ""]]}', "[" * 100_000,
                                  '{"title": 3, "rows": []}',
                                  '{"title": "x", "rows": [], "seed": ""}',
                                  '{"title": "x", "rows": [["a", 1e999, ""]]}'])
def test_damaged_topic(tmp_path: Path, text: str) -> None:
    (tmp_path / "mutation.json").write_text(text)
    with pytest.raises(ReportError, match=r"mutation\.json"):
        read_sections(tmp_path)


COMPARISON = {"figure": "x", "unit": "", "found": 1, "recorded": 1}
LARGE = {"value": 1, "unit": "", "provenance": "", "interval": {"p05": 1, "p95": 10**400}}


@pytest.mark.parametrize(("name", "data"), [
    ("guard", ""), ("demo", {}), ("guard", [{"figure": "x"}]), ("guard", [3]),
    ("guard", [COMPARISON | {"found": {}}]), ("guard", [COMPARISON | {"figure": 3}]),
    ("demo", {"figures": {"tokens_per_s": LARGE}}), ("demo", {"figures": {"tokens_per_s": 3}}),
])
def test_damaged_result(tmp_path: Path, name: str, data: object) -> None:
    (tmp_path / f"{name}.json").write_text(json.dumps(data) if data else "")
    with pytest.raises(ReportError, match=rf"{name}\.json.* no (result|section)"):
        gather(tmp_path / "ci")


def test_topics_have_plain_names(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="small letters"):
        write_section("../x", "X", [], folder=tmp_path)


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="cannot be written"):
        write_section("x", "X", [], folder=tmp_path / "file")
