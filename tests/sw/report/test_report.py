"""The report: plain keys, arithmetic between figures, provenance, reasons for what is missing."""

import io
import json
from dataclasses import fields, replace
from typing import Any

import pytest
from rich.console import Console

from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.support.boards import board_device
from trilight.sw.errors import ReportError
from trilight.sw.host.generation import Generated, LastRun
from trilight.sw.model.model import Model
from trilight.sw.power import Activity, estimate_power
from trilight.sw.report import display, releases
from trilight.sw.report.display import print_report
from trilight.sw.report.figures import Figure
from trilight.sw.report.performance import predict
from trilight.sw.report.releases import Release, load_releases
from trilight.sw.report.report import build_report
from trilight.sw.report.run import Run

DEVICE = board_device()

PLAIN = ("token_ids", "text", "cycles_per_token", "utilisation", "clock_hz", "tokens_per_s",
         "tokens_per_joule")
BITS_PER_BYTE = 2.125

UNTRAINED = Model.random(ModelConfig(vocab_size=20, d_model=40, n_layers=1, d_hidden=80), seed=1)
MODEL = replace(UNTRAINED, provenance={"quality": {
    "bits_per_byte": BITS_PER_BYTE, "nats_per_char": 1.473, "dataset": "a play",
    "split": "validation", "protocol": "stateful"}})
TERNARY_WEIGHTS = 20 * 40 + 4 * 40 * 40 + 3 * 40 * 80
# Words of mix and GLU cover 40 columns, the others are short and cover 32.
WEIGHT_WORDS = 3 * 40 + 40 * 2 + 2 * 80 + 40 * 3 + 20 * 2

BUSY = Activity(clock_nets=1, ff_clocked=1500, net_transitions=250, ebr_accesses=16,
                spram_accesses=3.5, dsp_ops=2, io_edges=0.01, cycles=40_000)
IDLE = replace(BUSY, net_transitions=20, ebr_accesses=1, spram_accesses=0, dsp_ops=0)

RELEASE = Release(
    board="icebreaker", design_sha256="d" * 64, netlist_sha256="e" * 64, bitstream_sha256="b" * 64,
    build_id=77, clock_hz=30e6, clock_source="placed and routed, seed 3", pll=True,
    model_sha256=MODEL.sha256, cycles_per_token=620.0,
    activity={"busy": BUSY.to_dict(), "idle": IDLE.to_dict()}, tools={"yosys": "0.70"})

TOKENS, CYCLES = 5, 3000
TEXT = Generated(prompt="ab", text="caf\u00e9!", token_ids=(3, 1, 4, 1, 5), seed=9)
GENERATION = LastRun(
    generated=(TEXT,), sequences=1, temperature=0.75, cycles=CYCLES, words=TOKENS * WEIGHT_WORDS,
    tokens=TOKENS, prompt_cycles=500, host_seconds=0.25, repeats=0)
NETLIST = Run(model=MODEL, target="netlist", generation=GENERATION, clock_hz=30e6, build_id=77,
              design_sha256="d" * 64, netlist_sha256="e" * 64)
REFERENCE = Run(model=MODEL, target="reference", generation=replace(GENERATION, cycles=None))


def report_of(run: Run, release: Release | None = RELEASE) -> dict[str, Any]:
    made = build_report(run, {"icebreaker": release} if release else {})
    text = json.dumps(made, allow_nan=False)
    assert json.loads(text) == made
    return made


def test_plain_keys_of_a_netlist_run() -> None:
    got = report_of(NETLIST)
    cycles_per_token = CYCLES / TOKENS
    assert got["schema"] == "trilight/report/v1"
    assert got["token_ids"] == [3, 1, 4, 1, 5]
    assert got["text"] == "caf\u00e9!"
    assert got["cycles_per_token"] == cycles_per_token
    assert got["utilisation"] == TERNARY_WEIGHTS / (40 * cycles_per_token)
    assert 0 < got["utilisation"] <= 1
    assert got["clock_hz"] == 30e6
    assert got["tokens_per_s"] == 30e6 / cycles_per_token
    watts = estimate_power(BUSY, 30e6, pll=True).power_mw.p50 * 1e-3
    assert got["tokens_per_joule"] == pytest.approx(got["tokens_per_s"] / watts)


def test_keys_of_the_schema() -> None:
    """Programs read them, so a change of one is a change of ``SCHEMA``."""
    got = report_of(REFERENCE, None)
    assert set(got) == {
        "schema", "token_ids", "text", "cycles_per_token", "utilisation", "clock_hz",
        "tokens_per_s", "tokens_per_joule", "texts", "sequences", "prompt", "target",
        "temperature", "seed", "model", "release", "build", "figures", "power", "hashes",
        "hashes_missing", "tools", "notes"}
    digests = {f"{what}_sha256" for what in ("model", "design", "netlist", "bitstream")}
    assert set(got["hashes"]) == digests
    assert set(got["hashes_missing"]) == digests - {"model_sha256"}
    assert set(got["figures"]["tokens_per_s"]) == {field.name for field in fields(Figure)}
    release = load_releases()["icebreaker"]
    built = report_of(replace(NETLIST, design_sha256=release["design_sha256"]))["build"]
    assert set(built) == {"board", "part", "clock_hz", "clock_source", "fmax_hz",
                          "timing_signed_off", "resources"}
    assert built["board"] == "icebreaker"


def test_figures_of_two_sequences_are_over_both() -> None:
    other = Generated(prompt="c", text="ab", token_ids=(7, 8), seed=10)
    two = replace(GENERATION, generated=(TEXT, other), sequences=2, tokens=7, cycles=CYCLES,
                  words=7 * WEIGHT_WORDS)
    got = report_of(replace(NETLIST, generation=two))
    assert got["sequences"] == 2
    assert got["texts"] == [
        {"prompt": "ab", "text": "caf\u00e9!", "token_ids": [3, 1, 4, 1, 5], "seed": 9},
        {"prompt": "c", "text": "ab", "token_ids": [7, 8], "seed": 10}]
    assert (got["prompt"], got["text"], got["seed"]) == ("ab", "caf\u00e9!", 9)
    assert got["cycles_per_token"] == CYCLES / 7
    assert got["tokens_per_s"] == 30e6 * 7 / CYCLES
    figures = got["figures"]
    assert "2 sequences at once" in figures["cycles_per_token"]["source"]
    assert figures["host_tokens_per_s"]["value"] == 7 / 0.25
    assert figures["joules_per_byte"]["value"] == pytest.approx(
        figures["joules_per_token"]["value"] * 7 / 8)


@pytest.mark.parametrize(("release", "counted"), [(RELEASE, 1), ({**RELEASE, "sequences": 2}, 2)])
@pytest.mark.parametrize("sequences", [1, 2])
def test_cycles_of_a_release_are_of_as_many_texts(release: Release, counted: int,
                                                  sequences: int) -> None:
    run = replace(REFERENCE, generation=replace(REFERENCE.generation, sequences=sequences))
    figures = report_of(run, release)["figures"]
    cycles = figures["cycles_per_token"]
    texts = {1: "1 sequence at a time", 2: "2 sequences at once"}[counted]
    assert texts in figures["power_mw"]["source"]
    if counted == sequences:
        assert cycles["value"] == 620
        assert texts in cycles["source"]
    else:
        assert cycles["value"] == predict(MODEL.config, sequences=sequences,
                                          device=DEVICE).cycles_per_token
        assert cycles["provenance"] == "modelled"
        assert (cycles["unit"], cycles["boundary"]) == ("cycles/token", "chip")
        assert f"the released build was counted with {texts}" in cycles["source"]


def test_figures_agree_with_each_other() -> None:
    figures = report_of(NETLIST)["figures"]
    for end, other in (("p05", "p95"), ("p50", "p50"), ("p95", "p05")):
        joules = figures["joules_per_token"]["interval"][end]
        assert joules == pytest.approx(
            figures["power_mw"]["interval"][end] * 1e-3 / figures["tokens_per_s"]["value"])
        assert figures["tokens_per_joule"]["interval"][other] == pytest.approx(1 / joules)
        assert figures["joules_per_byte"]["interval"][end] == pytest.approx(joules * 5 / 6)
    assert figures["idle_power_mw"]["value"] < figures["power_mw"]["value"]
    assert figures["host_tokens_per_s"]["value"] == 5 / 0.25


@pytest.mark.parametrize("run", [
    NETLIST, REFERENCE, replace(NETLIST, model=UNTRAINED),
    replace(NETLIST, netlist_sha256="0" * 64, design_sha256="0" * 64),
    replace(NETLIST, generation=replace(GENERATION, words=1)),
    replace(NETLIST, generation=replace(
        GENERATION, generated=(replace(TEXT, text="", token_ids=()),), tokens=0, cycles=0,
        words=0)),
], ids=["netlist", "reference", "no quality", "other netlist", "bad counters", "no token"])
@pytest.mark.parametrize("release", [RELEASE, None], ids=["release", "no release"])
def test_every_figure_has_its_origin_or_a_reason(run: Run, release: Release | None) -> None:
    got = report_of(run, release)
    assert set(PLAIN) <= set(got)
    for name in PLAIN[2:]:
        assert got[name] == got["figures"][name]["value"]
    for name, figure in got["figures"].items():
        assert figure["unit"], name
        if figure["value"] is None:
            assert figure["reason"], name
            assert figure["provenance"] is None
        else:
            assert figure["reason"] is None
            assert figure["provenance"] in {
                "measured", "counted", "modelled", "stated", "assumed"}
            assert figure["boundary"] in {"chip", "fpga_core", "host", "model"}
            assert figure["source"], name
        energy = name == "power_mw" or "joule" in name
        if energy and figure["value"] is not None:
            assert figure["boundary"] == "fpga_core"
            assert figure["interval"]["p05"] < figure["interval"]["p50"] == figure["value"]
            assert figure["interval"]["p50"] < figure["interval"]["p95"]
    assert {"bits_per_byte", "nats_per_char"} <= set(got["figures"])
    for name, value in got["hashes"].items():
        assert (value is None) == (name in got["hashes_missing"])


def provenance(got: dict[str, Any]) -> dict[str, str]:
    return {name: figure["provenance"] for name, figure in got["figures"].items()}


def test_provenance_of_each_figure() -> None:
    assert provenance(report_of(NETLIST)) == {
        "cycles_per_token": "counted", "utilisation": "counted", "clock_hz": "modelled",
        "tokens_per_s": "modelled", "host_tokens_per_s": "measured", "power_mw": "modelled",
        "idle_power_mw": "modelled", "joules_per_token": "modelled",
        "tokens_per_joule": "modelled", "joules_per_byte": "modelled",
        "bits_per_byte": "stated", "nats_per_char": "stated"}


def test_simulated_speed_is_never_the_chips() -> None:
    slow = replace(NETLIST, generation=replace(GENERATION, host_seconds=1e6))
    got, before = report_of(slow), report_of(NETLIST)
    assert got["tokens_per_s"] == before["tokens_per_s"]
    assert got["figures"]["host_tokens_per_s"]["value"] == 5e-6
    assert got["figures"]["host_tokens_per_s"]["boundary"] == "host"
    assert "not the chip" in got["figures"]["host_tokens_per_s"]["source"]


def test_reference_takes_cycles_of_the_release_only_with_its_model() -> None:
    same = report_of(REFERENCE)
    assert same["cycles_per_token"] == RELEASE["cycles_per_token"]
    assert same["release"] == {"board": "icebreaker", "match": "same model"}
    assert same["tokens_per_joule"] is not None
    other = Model.random(MODEL.config, seed=2)
    got = report_of(replace(REFERENCE, model=other))
    assert got["release"] is None
    assert [got[name] for name in PLAIN[2:]] == [None] * 5
    assert "counted no cycles" in got["figures"]["cycles_per_token"]["reason"]
    assert set(got["hashes_missing"]) == {"design_sha256", "netlist_sha256", "bitstream_sha256"}


@pytest.mark.parametrize(("changes", "match", "clock"), [
    ({}, "same netlist", "modelled"),
    ({"netlist_sha256": "0" * 64}, "same design, another netlist", "assumed"),
    ({"netlist_sha256": None}, "same design", "modelled"),
    ({"netlist_sha256": None, "design_sha256": None}, "same build id and clock", "modelled"),
    ({"netlist_sha256": None, "design_sha256": None, "build_id": 78}, None, "assumed"),
    ({"netlist_sha256": None, "design_sha256": None, "clock_hz": 12e6}, None, "assumed"),
    ({"netlist_sha256": "0" * 64, "design_sha256": "0" * 64}, None, "assumed"),
])
def test_release_is_used_only_for_what_ran(changes: dict[str, Any], match: str | None,
                                           clock: str) -> None:
    run = replace(NETLIST, **changes)
    got = report_of(run)
    assert got["release"] == (match and {"board": "icebreaker", "match": match})
    assert provenance(got)["clock_hz"] == provenance(got)["tokens_per_s"] == clock
    assert got["clock_hz"] == run.clock_hz
    assert got["cycles_per_token"] == CYCLES / TOKENS
    assert (got["tokens_per_joule"] is None) == (match is None)


def test_own_activity_comes_first_and_serves_without_a_release() -> None:
    own = replace(BUSY, net_transitions=2 * BUSY.net_transitions)
    with_release = report_of(replace(NETLIST, activity=own))
    assert with_release["power"]["activity"] == own.to_dict()
    alone = report_of(replace(NETLIST, activity=own), release=None)
    assert alone["power"]["pll_provenance"] == "assumed"
    assert alone["figures"]["power_mw"]["value"] == with_release["figures"]["power_mw"]["value"]
    assert "assumed clock" in alone["figures"]["power_mw"]["source"]


def test_activity_of_another_model_is_named() -> None:
    got = report_of(replace(NETLIST, model=Model.random(MODEL.config, seed=2)))
    assert "another model" in got["power"]["activity_source"]
    assert "this model" in report_of(NETLIST)["power"]["activity_source"]


def test_counters_that_cover_other_tokens_give_no_figure() -> None:
    """A prompt's tokens skip the head, so they would make the chip look faster."""
    mixed = replace(GENERATION, tokens=TOKENS + 2, words=(TOKENS + 2) * WEIGHT_WORDS - 40)
    got = report_of(replace(NETLIST, generation=mixed))
    assert [got[n] for n in ("cycles_per_token", "utilisation", "tokens_per_joule")] == [None] * 3
    assert "counters disagree" in got["figures"]["tokens_per_joule"]["reason"]


def test_cycles_of_another_model_are_not_borrowed() -> None:
    nothing = replace(GENERATION, generated=(replace(TEXT, text="", token_ids=()),), tokens=0,
                      words=0, cycles=0)
    assert report_of(replace(NETLIST, generation=nothing))["cycles_per_token"] == 620
    other = Model.random(MODEL.config, seed=2)
    got = report_of(replace(NETLIST, generation=nothing, model=other))
    assert got["cycles_per_token"] is None
    assert got["clock_hz"] == 30e6


@pytest.mark.parametrize("stated", [
    "good", {"bits_per_byte": "low", "nats_per_char": None},
    {"bits_per_byte": True, "nats_per_char": False},
    {"bits_per_byte": 1.0, "nats_per_char": 0.7, "model_sha256": "0" * 64},
])
def test_quality_that_is_none(stated: Any) -> None:
    """A text, no numbers, and that of other weights."""
    got = report_of(replace(NETLIST, model=replace(UNTRAINED, provenance={"quality": stated})))
    assert got["figures"]["bits_per_byte"]["value"] is None
    assert got["figures"]["nats_per_char"]["value"] is None


def test_quality_comes_with_its_data() -> None:
    own = {**MODEL.provenance["quality"], "model_sha256": MODEL.sha256}
    got = report_of(replace(NETLIST, model=replace(UNTRAINED, provenance={"quality": own})))
    assert got["model"]["quality"] == own
    assert got["figures"]["bits_per_byte"]["value"] == BITS_PER_BYTE
    assert "a play, validation, stateful" in got["figures"]["bits_per_byte"]["source"]


@pytest.mark.parametrize("claimed", [0.001, 2.084, 12])
def test_a_claim_is_never_measured(claimed: float) -> None:
    """Whatever a model file says of itself, nothing here has measured it."""
    model = replace(UNTRAINED, provenance={"quality": {
        "bits_per_byte": claimed, "nats_per_char": claimed, "provenance": "measured"}})
    figures = report_of(replace(NETLIST, model=model))["figures"]
    for name in ("bits_per_byte", "nats_per_char"):
        assert (figures[name]["value"], figures[name]["provenance"]) == (claimed, "stated")


def test_power_split_adds_up() -> None:
    power = report_of(NETLIST)["power"]
    assert sum(power["split_mw"].values()) == pytest.approx(power["nominal_mw"])
    assert sum(power["variance_share"].values()) == pytest.approx(1)
    assert power["coefficients"]["id"] == "ice40up5k-public-2"
    assert len(power["coefficients"]["sha256"]) == 64


def test_incomplete_release() -> None:
    broken = {name: value for name, value in RELEASE.items() if name not in ("pll", "clock_hz")}
    with pytest.raises(ReportError, match=r"^release 'x' lacks clock_hz, pll$"):
        build_report(NETLIST, {"x": broken})


def test_releases_come_through_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        name = "icebreaker"

        def load(self) -> Any:
            return lambda: RELEASE

    def entry_points(*, group: str) -> list[Entry]:
        return [Entry()] if group == "trilight.releases" else []

    monkeypatch.setattr(releases, "entry_points", entry_points)
    assert load_releases() == {"icebreaker": RELEASE}


def printed(run: Run, release: Release | None = RELEASE) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    print_report(report_of(run, release), console)
    return console.export_text()


def test_print_shows_energy_with_quality_unit_provenance_and_boundary() -> None:
    text = printed(NETLIST)
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    assert "modelled" in lines["Tokens per joule"]
    assert "tokens/J" in lines["Tokens per joule"]
    assert " to " in lines["Power of the core"]
    assert str(BITS_PER_BYTE)[:4] in lines["Quality of the model"]
    assert "600" in lines["Cycles per token"]
    assert "not the chip" in lines["Speed of this run"]
    assert "FPGA core alone" in text
    assert "energy of a block RAM or SPRAM access alone: both are assumed" in text


def test_print_says_what_is_not_known() -> None:
    text = printed(replace(NETLIST, model=UNTRAINED))
    assert "Not known: quality of the model. Reason: the model file states no quality" in text
    text = printed(REFERENCE, release=None)
    assert "Not known: cycles per token, engine utilisation. Reason: target reference" in text
    assert "tokens/J" not in text


def test_print_takes_markup_literally() -> None:
    assert "serial:[red]x" in printed(replace(NETLIST, target="serial:[red]x"))


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("run", [NETLIST, REFERENCE, replace(NETLIST, model=UNTRAINED)],
                         ids=["netlist", "reference", "no quality"])
def test_the_short_report_has_twelve_lines(run: Run, width: int) -> None:
    """With all figures of the long one, each with its provenance."""
    file = io.StringIO()
    got = report_of(run)
    print_report(got, Console(file=file, width=width), whole=False)
    shown = file.getvalue()
    # On the narrow one a range may take a second line, and never the name of a figure.
    assert shown.count("\n") <= (12 if width >= 80 else 18)
    assert "Speed of this run" in shown
    known = [figure for _, name, _, _ in display._ROWS
             if (figure := got["figures"][name])["value"] is not None]
    assert sum(shown.count(word) for word in ("counted", "measured", "modelled", "stated",
                                              "assumed")) >= len(known)
    assert "--report" in shown
    assert "alone" in shown


def test_two_sequences_have_their_speed() -> None:
    """Computed, where the release was counted with one sequence at a time."""
    two = replace(REFERENCE.generation, sequences=2)
    got = report_of(replace(REFERENCE, generation=two))
    figures = got["figures"]
    for name in ("cycles_per_token", "utilisation", "tokens_per_s", "joules_per_token"):
        assert figures[name]["value"] is not None
        assert figures[name]["provenance"] == "modelled"
    assert got["tokens_per_s"] == got["clock_hz"] / figures["cycles_per_token"]["value"]
