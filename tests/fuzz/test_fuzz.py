"""What the fuzzer runs, without the fuzzer: seeds and kept inputs, and that its watch sees."""

import gc
import json
import pickle
import time
from pathlib import Path

import numpy as np
import pytest

from fuzz.corpus import ARCHIVE, keep, pack, read_all, unpack
from fuzz.structure import mutate_json
from fuzz.target import AnyOf
from fuzz.targets import TARGETS
from fuzz.watch import watched

KEPT = read_all()

DOCS = Path(__file__).resolve().parents[2] / "docs"

KEPT_BYTES = 200_000
"""Of all kept inputs: they are for tests, a fuzzer makes more by itself."""


def kept(name: str) -> dict[str, bytes]:
    return KEPT.get(name, {})


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_parsed(name: str) -> None:
    target = TARGETS[name]
    seeds = list(target.seeds())
    assert any([target.accepts(seed) for seed in seeds]), "every seed is refused"
    if isinstance(target.parse, AnyOf):
        for reader in target.parse.readers:
            assert not all([target.parse.refusal(reader, seed) for seed in seeds]), \
                f"{reader.__name__} refuses every seed"
    assert list(target.seeds()) == seeds, "seeds change"
    assert max(map(len, seeds)) <= target.longest


@pytest.mark.parametrize("name", TARGETS)
def test_kept_inputs_are_parsed_or_refused(name: str) -> None:
    target = TARGETS[name]
    # What is imported late would run code.
    for seed in target.seeds():
        target.accepts(seed)
    with watched():
        for label, data in kept(name).items():
            began = time.process_time()
            target.accepts(data)
            assert time.process_time() - began < 5, f"{label} takes long"


def test_a_design_is_recovered_from_a_kept_input() -> None:
    """Of ``trilight.boards.echo``: no seed configures as much."""
    assert TARGETS["bitstream"].accepts(KEPT["bitstream"]["echo"])


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if target.mutate])
def test_structural_mutations(name: str, rng: np.random.Generator) -> None:
    target = TARGETS[name]
    seeds = list(target.seeds())
    outcomes = {True: 0, False: 0}
    for number in range(60):
        mutated = target.mutate(seeds[number % len(seeds)], int(rng.integers(1 << 30)))
        if mutated is not None:
            outcomes[target.accepts(mutated)] += 1
    assert all(outcomes.values()), f"accepted and refused: {outcomes}"


def test_kept_inputs_are_small_and_of_targets() -> None:
    assert KEPT.keys() <= set(TARGETS)
    assert sum(len(data) for inputs in KEPT.values() for data in inputs.values()) < KEPT_BYTES


def test_the_archive_depends_on_its_inputs_alone(tmp_path: Path) -> None:
    pack(KEPT, tmp_path / "again.zip")
    assert read_all(tmp_path / "again.zip") == KEPT
    pack({name: dict(reversed(inputs.items())) for name, inputs in KEPT.items()},
         tmp_path / "reversed.zip")
    assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "reversed.zip").read_bytes()
    unpack("bitstream", tmp_path / "bitstream", ARCHIVE)
    assert {path.name for path in (tmp_path / "bitstream").iterdir()} == KEPT["bitstream"].keys()


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_left_of_an_input(name: str) -> None:
    """Whatever it was, the second time it leaves no objects."""
    target = TARGETS[name]
    inputs = [*target.seeds(), *list(kept(name).values())[:40]]
    objects = []
    for _ in range(3):
        for data in inputs:
            target.accepts(data)
        gc.collect()
        objects.append(len(gc.get_objects()))
    assert objects[2] <= objects[1] + 5, objects


@pytest.mark.parametrize("name", TARGETS)
def test_the_page_has_what_was_done(name: str) -> None:
    done = json.loads((DOCS / "results" / "fuzz.json").read_text())["targets"][name]
    assert done["what"] == TARGETS[name].what
    assert done["findings"] == []
    assert (f"| `{name}`: {done['what']} | {done['executions']:,} | "
            f"{done['processor_seconds'] / 60:.1f} | {done['edges']:,} | "
            f"{done['memory_mb']} |"
            ) in (DOCS / "verification.md").read_text(encoding="utf-8")


def test_what_is_kept_reaches_more(tmp_path: Path) -> None:
    found, kept = tmp_path / "found", dict[str, bytes]()
    found.mkdir()
    (found / "a").write_bytes(b"ROMEO:\xff" * 70)
    (found / "b").write_bytes(b"ROMEO:\xff" * 80)
    assert keep(TARGETS["texts"], found, kept, 200) == 0
    assert keep(TARGETS["texts"], found, kept, 1000) == 490
    assert keep(TARGETS["texts"], found, kept, 1000) == 490
    assert list(kept.values()) == [(found / "a").read_bytes()]


def test_mutation_of_json_depends_on_seed_alone() -> None:
    text = json.dumps({"a": [1, 2.5, None], "b": {"c": "x"}}).encode()
    mutated = [mutate_json(text, seed) for seed in range(40)]
    assert mutated == [mutate_json(text, seed) for seed in range(40)]
    assert len(set(mutated)) > 10
    assert mutate_json(b"{", 1) is None


@pytest.mark.parametrize("run", [
    lambda: eval("1 + 1"),
    lambda: exec("pass"),
    lambda: pickle.loads(pickle.dumps(np.int8)),
], ids=["eval", "exec", "unpickle"])
def test_watch_ends_what_runs_its_input(run) -> None:
    run()
    with pytest.raises(SystemExit, match="a parser caused"), watched():
        run()
    run()
