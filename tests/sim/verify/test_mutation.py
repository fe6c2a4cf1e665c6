"""A small, fixed sample of a mutation campaign (docs/mutation.md), and the campaign's own parts."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Signal
from typer.testing import CliRunner

from trilight.boards.icebreaker import Icebreaker
from trilight.sim.native.compile import NativeBench
from trilight.sim.verify.events import TokenEvent, lost_events
from trilight.sim.verify.mutation import benches, host
from trilight.sim.verify.mutation.benches import BenchCampaign
from trilight.sim.verify.mutation.campaign import MutantOutcome, MutationCampaign
from trilight.sim.verify.mutation.command import mutation_commands
from trilight.sim.verify.mutation.equivalence import prove
from trilight.sim.verify.mutation.mutants import Mutant, batch, prepare_text
from trilight.sim.verify.mutation.program import record
from trilight.sim.verify.mutation.results import (
    MutantResult,
    asked_again,
    document,
    summarise,
    survivors,
)
from trilight.sim.verify.mutation.transcript import Recorder
from trilight.sw.errors import SimulationError

# The first compilation of all makes the compiler's own library, which takes minutes.
pytestmark = pytest.mark.timeout(900)

SAMPLE = 64
SEED = 1

SCORE = 0.93
"""Share of the sample that dies without the parts that take longest, at the least; the whole
regression kills more."""

@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> MutationCampaign:
    """A campaign that has run: mutants of all modules, some of each."""
    campaign = MutationCampaign(Icebreaker(), number=2000, seed=SEED, thorough=False,
                        folder=tmp_path_factory.mktemp("mutation"))
    campaign.run(limit=SAMPLE)
    return campaign


def sample(campaign: MutationCampaign) -> list[MutantOutcome]:
    return [campaign.outcomes[mutant.mutation] for mutant in campaign.mutants[:SAMPLE]]


def test_sample_is_killed(campaign: MutationCampaign, root: Path) -> None:
    results = campaign.run(limit=SAMPLE)
    found = document(results, chosen=len(campaign.mutants), seed=SEED, command="make test")
    summarise(found, root / "build" / "ci")
    alive = "\n".join(f"{result.mutation} {' '.join(result.sources)}"
                      for result in results if result.verdict == "survived")
    assert found["all"]["tried"] == SAMPLE
    assert found["all"]["score"] >= SCORE, f"survive:\n{alive}"


def test_mutants_are_of_every_module(campaign: MutationCampaign) -> None:
    assert {mutant.module for mutant in campaign.mutants} == set(campaign.prepared.modules)


def test_a_campaign_goes_on(campaign: MutationCampaign) -> None:
    again = MutationCampaign(Icebreaker(), number=2000, seed=SEED, thorough=False,
                     folder=campaign.journal.path.parent)
    assert again.outcomes == campaign.outcomes
    size = campaign.journal.path.stat().st_size
    seen: list[MutantOutcome] = []
    again.run(seen.append, limit=SAMPLE)
    assert sorted(seen, key=str) == sorted(sample(campaign), key=str)
    assert campaign.journal.path.stat().st_size == size, "a mutant was asked twice"


def test_a_real_fault_is_not_proved_equivalent(campaign: MutationCampaign) -> None:
    killed = [mutant for mutant in campaign.mutants[:SAMPLE]
              if campaign.outcomes[mutant.mutation].verdict == "killed"][:3]
    assert list(prove(campaign.prepared, killed)) == []


def test_what_no_output_depends_on_is_equivalent() -> None:
    """Through any number of registers, and bit by bit."""
    m = Module()
    taken, first, second, given = (Signal(2, name=name, reset_less=True)
                                   for name in ("taken", "first", "second", "given"))
    m.d.sync += [first.eq(taken), second.eq(first)]
    m.d.comb += given.eq(second[1])
    prepared = prepare_text(rtlil.convert(m, name="top", ports=[taken, given]), "top")
    registers = re.findall(r"cell \$dff (\S+)", prepared.rtlil.read_text())
    assert len(registers) == 2
    mutants = [[Mutant(f"-mode const0 -module top -cell {cell} -port D -portbit {bit}", ())
                for cell in registers] for bit in range(2)]
    assert list(prove(prepared, [*mutants[0], *mutants[1]])) == mutants[0]


EVENTS = [(0, 1, 11), (1, 1, 13), (1, 2, 17), (1, 3, 19)]
ENDS = [100, 110, 650, 1190]


@pytest.mark.parametrize(("came", "wait", "lost"), [
    ([0, 1, 2, 3], 0, []),
    ([0, 1, 3], 541, []),             # the second event of sequence 1 ends before the first is sent
    ([0, 1, 3], 540, [2]),
    ([0, 1], 1081, []),               # the first is still being sent, which keeps both
    ([0, 1], 1080, [3]),
    ([0, 1, 2], 541, []),
    ([1, 2, 3], 10_000, [0]),         # nothing keeps a sequence's first
    ([0], 10_000, [1, 2, 3]),
])
def test_lost_events(came: list[int], wait: int, lost: list[int]) -> None:
    assert lost_events(EVENTS, [EVENTS[k] for k in came], ENDS, wait) == [EVENTS[k] for k in lost]


@pytest.mark.parametrize("damage", [
    lambda events: events[:-1], lambda events: [*events, *events[-1:]], lambda events: events[::-1],
], ids=["lost", "twice", "out of order"])
def test_events_that_are_not_the_references(
    campaign: MutationCampaign, monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[list[TokenEvent]], list[TokenEvent]],
) -> None:
    """The first run of all generates two tokens of one sequence, whose events are sent in time."""
    events = Recorder._events
    monkeypatch.setattr(Recorder, "_events", staticmethod(lambda frames: damage(events(frames))))
    bench = NativeBench(batch(campaign.prepared, campaign.mutants[:SAMPLE]))
    with pytest.raises(SimulationError, match="least: events"):
        record(bench, SEED, thorough=False)
    bench.close()


def test_mutant_of_a_line() -> None:
    mutant = Mutant.parse("mutate -mode cnot0 -module top.a -cell $5 -port Q -portbit 20 "
                          "-ctrlbit 11 -wire q -wirebit 20 -src hw/a.py:3 -src hw/b.py:4\n")
    assert mutant == Mutant("-mode cnot0 -module top.a -cell $5 -port Q -portbit 20 -ctrlbit 11",
                            ("hw/a.py:3", "hw/b.py:4"))
    assert (mutant.module, mutant.mode) == ("top.a", "cnot0")


def test_document_counts_by_module() -> None:
    results = [MutantResult("a", "1", (), "killed", "run"),
               MutantResult("a", "2", (), "equivalent"),
             MutantResult("b", "3", (), "survived")]
    found = document(results, chosen=9, seed=1, command="make mutation")
    assert found["all"] == {"tried": 3, "killed": 1, "equivalent": 1, "survived": 1, "score": 0.5}
    assert found["modules"]["a"]["score"] == 1
    assert [result["mutation"] for result in found["not_killed"]] == ["2", "3"]


def test_survivors_asked_again_count_as_if_the_campaign_had_been_made_now() -> None:
    before = [MutantResult("a", "1", (), "killed", "run"),
              MutantResult("a", "2", ("a.py:2",), "survived"),
              MutantResult("b", "3", (), "equivalent"),
              MutantResult("b", "4", ("b.py:3",), "survived"),
              MutantResult("b", "5", (), "survived")]
    now = [replace(before[1], verdict="killed", by="run"), before[3],
           replace(before[4], verdict="equivalent", by="proof")]
    found = document(before, chosen=9, seed=1, command="make mutation")
    assert survivors(json.loads(json.dumps(found))) == [before[1], before[3], before[4]]
    assert json.dumps(asked_again(found, now)) == json.dumps(document(
        [before[0], now[0], before[2], now[1], now[2]], chosen=9, seed=1, command="make mutation"))


def test_benches_are_asked(tmp_path: Path) -> None:
    """The divider's bench notices most faults of the divider; what it found out is kept."""
    campaign = BenchCampaign(Icebreaker(), number=6, seed=SEED, folder=tmp_path, names=["norm"])
    results = campaign.run()
    assert len(results) == 6
    assert {result.module for result in results} == {"norm"}
    verdicts = [result.verdict for result in results]
    assert verdicts.count("killed") >= 3, results
    assert all("failed" in result.how or "does not end" in result.how
               for result in results if result.verdict == "killed")
    again = BenchCampaign(Icebreaker(), number=6, seed=SEED, folder=tmp_path, names=["norm"])
    size = again.journal.path.stat().st_size
    assert again.run() == results
    assert again.journal.path.stat().st_size == size, "a mutant was asked twice"


def test_benches_have_to_pass_without_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(benches, "run_bench", _fail)
    campaign = BenchCampaign(Icebreaker(), number=6, seed=SEED, folder=tmp_path, names=["norm"])
    with pytest.raises(SimulationError, match="bench of norm fails without a fault: no luck"):
        campaign.run()


def _fail(*_: object, **__: object) -> None:
    raise SimulationError("no luck")


VERILOG = """module top(a, mutant, b);
  input a;
  input [15:0] mutant;
  wire [15:0] mutant;
  output b;
endmodule
"""


def test_control_input_becomes_an_argument() -> None:
    text = benches._with_argument(VERILOG, "top")
    assert text.splitlines()[:3] == ["module top(a, b);", "  input a;", "  reg [15:0] mutant;"]
    assert '$value$plusargs("mutant=%d", mutant)' in text
    with pytest.raises(SimulationError, match="no input mutant"):
        benches._with_argument("module top(a);\n  input a;\nendmodule\n", "top")


@pytest.mark.parametrize("option", [["--quick"], ["--limit", "3"]])
def test_options_of_the_pins_alone(option: list[str]) -> None:
    result = CliRunner().invoke(mutation_commands, ["gateware", "--asked", "benches", *option])
    assert isinstance(result.exception, SimulationError)
    assert "are of --asked pins" in str(result.exception)


def test_samples_by_module() -> None:
    """As many of each, which do not change when there are other modules; fewer are the first."""
    names = [f"trilight.sw.a.x_f__mutmut_{k}" for k in range(50)]
    chosen = host._choose(names, 5, "1 sw/a.py")
    assert len(set(chosen)) == 5
    assert host._choose(names[::-1][::-1], 3, "1 sw/a.py") == chosen[:3]
    assert host._choose(names, 5, "2 sw/a.py") != chosen
    assert host._source(names[0]) == "sw/a.py"


def test_modules_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(SimulationError, match=r"no mutants are made of sw/nothing\.py; the "):
        host.campaign(tmp_path, 1, 1, only=["sw/nothing.py"])


def test_host_modules_and_their_tests_are_there(root: Path) -> None:
    assert {"hw/link", "hw/lib", "hw/memory", "hw/imported"} == {
        Path(module).parent.as_posix() for module in host.PARTS["gateware"]}
    for modules in host.PARTS.values():
        for module, names in modules.items():
            assert (root / module).is_file()
            assert all((root / "tests" / f"{name}.py").is_file() for name in names)
    # Every part of the host that computes a figure is asked, on one sample or the other.
    asked = {Path(module).parent.as_posix() for modules in host.PARTS.values()
             for module in modules}
    assert {"sw/power", "sw/report", "sw/quality", "sw/meters", "sw/train", "boards",
            "hw/flow"} <= asked


@pytest.mark.parametrize("text", ["", "[]", '{"all": {}}', "\xff"])
@pytest.mark.parametrize("command", [["show"], ["gateware", "--again"]])
def test_a_file_that_no_campaign_wrote(tmp_path: Path, command: list[str], text: str) -> None:
    path = tmp_path / "figures.json"
    path.write_text(text, "latin-1")
    result = CliRunner().invoke(mutation_commands, [*command, str(path)])
    assert isinstance(result.exception, SimulationError)
    assert "is not what a campaign's --json wrote" in str(result.exception)
