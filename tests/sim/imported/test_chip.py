"""Whole small checkpoints through the chip's pins: token in, token out, as the reference."""

import json
from pathlib import Path

import numpy as np
import pytest

from trilight.hw.contract.errors import CapacityError
from trilight.hw.contract.imported import ImportedDevice
from trilight.sim.board import VirtualBoard
from trilight.sim.imported.board import DEVICE, virtual_chip
from trilight.sim.imported.verify import random_model
from trilight.sw.checkpoint.chip import ImportedChipStream, check_fits
from trilight.sw.checkpoint.model import ImportedModel
from trilight.sw.checkpoint.reference import ImportedReference
from trilight.sw.checkpoint.shape import Shape
from trilight.sw.cli.app import main
from trilight.sw.errors import TokenError, WrongDeviceError
from trilight.sw.host.targets import open_transport
from trilight.sw.plan.cycles import TokenSchedule

from ...sw.checkpoint.synthetic import Synthetic
from ...sw.checkpoint.test_imported import make, reference_file
from ...sw.cli.test_imported import tokenizer_json

# The first compilation of all makes the compiler's own library, which takes minutes.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def board() -> VirtualBoard:
    return virtual_chip()


KINDS = [
    {"hidden": 48, "layers": 3, "inner": 37, "tied": True, "bounds": False, "dtype": "float16"},
    {"hidden": 64, "layers": 2, "inner": 256, "heads": 4},
    {"hidden": 33, "layers": 1, "inner": 70, "zero_rows": 3, "dtype": "bfloat16"},
]


@pytest.mark.parametrize("number", range(len(KINDS)))
def test_checkpoints(rng: np.random.Generator, tmp_path: Path, board: VirtualBoard,
                     number: int) -> None:
    """Tokens and logits of odd checkpoints, and a second sequence after the first."""
    _, model = make(rng, tmp_path, vocabulary=int(rng.integers(20, 60)), **KINDS[number])
    chip = ImportedChipStream(board, model)
    cycles = TokenSchedule(model.shape, chip.device.engine).cycles
    for _ in range(2):
        reference = ImportedReference(model)
        chip.reset()
        token = int(rng.integers(model.shape.vocabulary))
        for count in range(1, 6):
            logits = chip.step(token)
            assert np.array_equal(logits, reference.step(token))
            assert chip.counts.tokens == count
            token = int(np.argmax(logits))
        assert chip.counts.cycles == 5 * cycles
        assert chip.saturations.total == reference.saturations.total
    with pytest.raises(TokenError, match="tokens must be in"):
        chip.step(model.shape.vocabulary)


def test_values_that_are_clipped_are_counted(seed: int, board: VirtualBoard) -> None:
    model = random_model(Shape(layers=1, hidden=40, inner=30, vocabulary=16), seed)
    for matrix in model.layers[0].values():
        object.__setattr__(matrix, "scale_frac", matrix.scale_frac - 16)
    chip, reference = ImportedChipStream(board, model), ImportedReference(model)
    assert np.array_equal(chip.step(1), reference.step(1))
    assert chip.saturations.total == reference.saturations.total > 0


def test_models_that_do_not_fit(seed: int) -> None:
    model = random_model(Shape(layers=1, hidden=300, inner=7, vocabulary=16), seed)
    with pytest.raises(CapacityError, match=r"hidden: 300 of at most 256; .*twice inner: 14 of at "
                                            "least 16"):
        check_fits(model, DEVICE)
    with pytest.raises(CapacityError, match="max_hidden"):
        ImportedDevice(engine=DEVICE.engine, max_hidden=1, state_words=9)


def test_another_device(seed: int) -> None:
    model = random_model(Shape(layers=1, hidden=40, inner=30, vocabulary=16), seed)
    transport = open_transport("reference")
    with pytest.raises(WrongDeviceError, match="no chip for imported models: it calls itself"):
        ImportedChipStream(transport, model)


def test_text_from_the_chip(rng: np.random.Generator, tmp_path: Path,
                            capsys: pytest.CaptureFixture[str]) -> None:
    """``generate`` writes the same text on both targets, and the chip's cycles."""
    made = Synthetic.random(rng, hidden=48, layers=2, inner=40, vocabulary=20)
    folder = made.write(tmp_path / "checkpoint")
    (folder / "tokenizer.json").write_bytes(tokenizer_json())
    file = tmp_path / "model"
    assert main(["import", str(folder), "-o", str(file), "--quiet"]) == 0
    model = ImportedModel.load(file)
    texts, results = [], {}
    for target in ("reference", "rtl"):
        report = tmp_path / f"{target}.json"
        assert main(["generate", "--model", str(file), "--prompt", "the king is",
                     "-n", "4", "--target", target, "--json", str(report)]) == 0
        results = json.loads(report.read_text())
        texts.append(results["texts"])
    assert texts[0] == texts[1]
    chip = results["chip"]
    assert chip["cycles"] == chip["tokens"] * TokenSchedule(model.shape, DEVICE.engine).cycles
    assert "embedding and sampling on the host" in results["boundary"]
    assert main(["generate", "--model", str(file), "--prompt", "a", "--prompt", "b", "--target",
                 "rtl"]) != 0
    assert "one chip with one sequence" in capsys.readouterr().err


def test_evaluation_on_the_chip(rng: np.random.Generator, tmp_path: Path) -> None:
    """``evaluate`` gives the same figures on both targets, of logits and of a text."""
    made = Synthetic.random(rng, hidden=48, layers=2, inner=40, vocabulary=20)
    folder = made.write(tmp_path / "checkpoint")
    (folder / "tokenizer.json").write_bytes(tokenizer_json())
    file, text = tmp_path / "model", tmp_path / "text"
    text.write_text("the king is dead long live the king")
    reference = reference_file(rng, made, tmp_path / "reference.npz", 2, 4)
    assert main(["import", str(folder), "-o", str(file), "--quiet"]) == 0
    for of in (["--against", str(reference)], ["--corpus", str(text), "--split", "all"]):
        found = []
        for target in ("reference", "rtl"):
            report = tmp_path / f"{target}.json"
            assert main(["evaluate", str(file), *of, "--target", target, "--json", str(report),
                         "--quiet"]) == 0
            found.append(json.loads(report.read_text()))
        chip = found[1].pop("chip")
        assert found[0] == found[1]
        assert chip["tokens"] > 0
