"""Releases and campaign records are told from those of another design."""

import gzip
import json
from pathlib import Path
from typing import Any, cast

import pytest

from trilight.hw.flow.build import design_sha256, find_board
from trilight.hw.support.boards import DEFAULT_BOARD
from trilight.hw.support.tools import no_progress
from trilight.sim.verify import release
from trilight.sim.verify.release import Origin, campaign_records, check_modules, check_releases
from trilight.sim.wasm.library import with_build_info
from trilight.sw.cli.app import main
from trilight.sw.errors import ReportError
from trilight.sw.report.releases import Release, load_releases

OTHER = "0" * 64


@pytest.fixture(scope="module")
def present() -> str:
    return design_sha256(find_board(DEFAULT_BOARD))


def changed(present: str, **changes: Any) -> dict[str, Release]:
    """The release as if it were of the present design, but for some fields."""
    return {DEFAULT_BOARD: cast(Release, {**load_releases()[DEFAULT_BOARD],
                                          "design_sha256": present, **changes})}


@pytest.fixture
def folder(tmp_path: Path, present: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Records of a campaign of this design, as the command finds them."""
    monkeypatch.chdir(tmp_path)
    for name in ("load_releases", "released_builds"):
        monkeypatch.setattr(release, name, lambda: changed(present))
    monkeypatch.setattr(release, "load_module", lambda _board: None)
    records = tmp_path / "docs" / "results"
    records.mkdir(parents=True)
    (records / "soak.json").write_text(json.dumps(
        {"rtl": {"design_sha256": present, "command": "run me"}}))
    return records


def test_a_release_of_this_design_passes(present: str) -> None:
    [record], designs = check_releases(changed(present), progress=no_progress)
    assert (record.origin, record.reason, designs) == (Origin.PRESENT, "", {present})


def test_a_release_of_another_design_is_named(present: str) -> None:
    [record], _ = check_releases(changed(present, design_sha256=OTHER), progress=no_progress)
    assert (record.origin, record.release) == (Origin.OTHER, True)
    assert record.command == f"trilight build {DEFAULT_BOARD} --release"


def module(monkeypatch: pytest.MonkeyPatch, present: str, *, released: bool = True,
           **build_info: Any) -> bytes:
    """A module with build info of its own, in the place of the bundled one."""
    code = with_build_info(b"\0asm\1\0\0\0", {
        "design_sha256": present, "netlist_sha256": "n", "sources_sha256": "s", "tools": {},
        **build_info})
    monkeypatch.setattr(release, "load_module", lambda _board: code)
    monkeypatch.setattr(release, "is_released", lambda _code, _board: released)
    monkeypatch.setattr(release, "has_same_sources", lambda _build_info: True)
    return code


def checked_module(present: str, *, rebuild: bool = False) -> release.Record:
    [record] = check_modules(changed(present), rebuild=rebuild, progress=no_progress)
    assert record.release
    assert record.command == f"trilight build {DEFAULT_BOARD} --release"
    return record


def test_a_module_of_this_design_passes(present: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module(monkeypatch, present)
    assert checked_module(present).origin is Origin.PRESENT


def test_a_module_of_another_design_is_named(present: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module(monkeypatch, present, design_sha256=OTHER)
    assert checked_module(present).origin is Origin.OTHER


def test_a_module_of_other_sources_is_named(present: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module(monkeypatch, present)
    monkeypatch.setattr(release, "has_same_sources", lambda _build_info: False)
    [record] = check_modules(changed(present), progress=no_progress)
    assert (record.origin, record.command) == (
        Origin.OTHER, f"trilight build {DEFAULT_BOARD} --wasm")


def test_a_module_beside_other_figures_is_named(present: str, monkeypatch: pytest.MonkeyPatch
                                                ) -> None:
    module(monkeypatch, present, released=False)
    assert "not that in the figures" in checked_module(present).reason


def test_a_module_is_compiled_again_and_compared(present: str, monkeypatch: pytest.MonkeyPatch
                                                 ) -> None:
    monkeypatch.setattr(release, "synthesise", lambda _board, _progress: None)
    tools = module(monkeypatch, present, tools={"ziglang": "2"})
    code = module(monkeypatch, present, tools={"ziglang": "1"})
    for made, said in ((code, ""), (tools, "its tools was"), (code + b"\0\1\0", "other bytes")):
        monkeypatch.setattr(release, "release_module",
                            lambda _netlist, _progress, made=made: gzip.compress(made))
        assert said in checked_module(present, rebuild=True).reason
        assert bool(checked_module(present, rebuild=True).reason) == bool(said)


def test_a_damaged_module_is_named(present: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "load_module", lambda _board: b"nothing")
    assert "damaged" in checked_module(present).reason


def test_another_amaranth_is_no_other_design(present: str) -> None:
    tools = {**load_releases()[DEFAULT_BOARD]["tools"], "amaranth": "0.0.1"}
    [record], _ = check_releases(changed(present, design_sha256=OTHER, tools=tools),
                                 progress=no_progress)
    assert record.origin is Origin.UNKNOWN
    assert "0.0.1" in record.reason


def test_records_are_found_at_any_depth(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({
        "x": {"y": {"design_sha256": OTHER, "command": "make y"}},
        "z": {"design_sha256": "1" * 64, "command": "make z"}, "figures": [1, 2]}))
    (tmp_path / "b.json").write_text(json.dumps({"proofs": []}))
    (tmp_path / "c.json").write_text("[]")
    found = campaign_records(tmp_path, {OTHER})
    assert [(record.name, record.origin, record.command) for record in found] == [
        ("a.json: x: y", Origin.PRESENT, "make y"), ("a.json: z", Origin.OTHER, "make z"),
        ("b.json", Origin.UNNAMED, "see docs/")]


def test_the_command_passes_records_of_this_design(folder: Path) -> None:
    assert main(["release-check", "--strict"]) == 0


def test_an_older_campaign_is_reported_and_fails_strictly(
        folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "faults.json").write_text(json.dumps(
        {"design_sha256": OTHER, "command": "repeat it so"}))
    assert main(["release-check", "--json", "found.json"]) == 0
    assert "repeat it so" in capsys.readouterr().out
    found = json.loads(Path("found.json").read_text())
    assert [record["origin"] for record in found["records"]] == [
        "this design", "another design", "this design"]
    assert main(["release-check", "--strict"]) == 1


def test_a_release_of_another_design_fails(folder: Path, present: str,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "released_builds",
                        lambda: changed(present, design_sha256=OTHER))
    assert main(["release-check"]) == 1


@pytest.mark.parametrize(("text", "message"), [(None, "there is no folder"), ("{", "as JSON")])
def test_records_that_cannot_be_read(text: str | None, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    if text is not None:
        folder.mkdir()
        (folder / "soak.json").write_text(text)
    with pytest.raises(ReportError, match=message):
        campaign_records(folder, ())
