"""Whole models with weights from outside the chip: every token is that of the reference.

The memories are models that check when they are asked: a read too early spoils what is read.
"""

from dataclasses import replace
from typing import Any

import pytest

from trilight.boards.icebreaker_flash import IcebreakerFlash
from trilight.boards.ulx3s_sdram import Ulx3s85FSdram
from trilight.hw.contract.noise import BYTE, FINE, NoiseFormat
from trilight.hw.contract.outside import Sdram, WordPort
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.flow.build import elaborate
from trilight.sim.board import VirtualBoard
from trilight.sim.native.compile import NativeBench
from trilight.sim.outside import FASTEST, with_models
from trilight.sw.errors import DeviceError
from trilight.sw.host.driver import Board, LastRun
from trilight.sw.model.model import Model
from trilight.sw.reference.continuation import continue_text
from trilight.sw.report.performance import predict

# The first compilation of all makes the compiler's own library, which takes minutes.
pytestmark = pytest.mark.timeout(900)

SHAPE = ModelConfig(vocab_size=60, d_model=64, n_layers=2, d_hidden=80)
"""The longest of its operations has 384 words."""

FIVE_MILLION = ModelConfig(vocab_size=1024, d_model=320, n_layers=5, d_hidden=544)

TOKENS = 20
TEMPERATURE = 0.8

SMALL = Sdram(row_bits=8)
"""As many rows as the weights of small models need."""

SIZES = {"weight_words": 1 << 16, "lanes": 8, "max_rows": 512, "max_columns": 256,
         "max_channels": 512, "program_words": 256, "max_vocab": 256, "tape_tokens": 256}


def ulx3s(**sizes: Any) -> Ulx3s85FSdram:
    """A small chip on a ULX3S, to be compiled and loaded soon."""
    return Ulx3s85FSdram(device=replace(Ulx3s85FSdram.device, **SIZES | sizes))


BOARDS = {
    "flash, SPRAM": IcebreakerFlash(),
    "SDRAM of 32 bits, 4 sequences": ulx3s(
        outside=replace(SMALL, data_bits=32, column_bits=8), buffer_words=1024, sequences=4),
    "random pauses, a buffer for some operations only": ulx3s(
        outside=WordPort(words=1 << 16, pauses=100), buffer_words=256, sequences=2),
    "SDRAM of 16 bits, operations longer than the buffer": ulx3s(
        outside=SMALL, buffer_words=256, sequences=2),
}
WRITTEN = "SDRAM of 32 bits, 4 sequences"
"""Through the link; the others find their weights in place."""


def run_like_the_reference(chip: Board, model: Model, prompts: list[str],
                           noise: NoiseFormat = BYTE) -> LastRun:
    """Load a model and generate; every token has to be that of the integer reference."""
    chip.load(model)
    for _ in chip.generate_many(prompts, tokens=TOKENS, temperature=TEMPERATURE):
        pass
    run = chip.last_run
    assert run is not None
    for text in run.generated:
        assert list(text.token_ids) == continue_text(
            model, text.prompt, TOKENS, seed=text.seed, temperature=TEMPERATURE, noise=noise)
    return run


@pytest.mark.parametrize("name", BOARDS)
def test_tokens_are_those_of_the_reference(name: str, seed: int) -> None:
    board = BOARDS[name]
    bench = NativeBench(elaborate(with_models(board)), boots=name != WRITTEN)
    model = Model.random(SHAPE, seed)
    prompts = ["".join(model.vocab[k:2 * k + 1]) for k in range(board.device_config.sequences)]
    with Board(VirtualBoard(bench, name)) as chip:
        run = run_like_the_reference(chip, model, prompts)
        assert run.cycles_per_token is not None
        if not isinstance(board.device_config.outside, WordPort):
            computed = predict(SHAPE, sequences=len(prompts), device=board.device_config)
            assert run.cycles_per_token == pytest.approx(computed.cycles_per_token, rel=0.01)
        # Loading and checking read all of it too.
        assert bench.values().get("violation", 0) == 0


@pytest.mark.slow
def test_five_million_weights_without_waiting(seed: int) -> None:
    """The board's own sizes, all of its sequences, and a memory that gives a word in each cycle."""
    board = Ulx3s85FSdram(device=replace(Ulx3s85FSdram.device, outside=FASTEST))
    model = Model.random(FIVE_MILLION, seed)
    assert model.config.ternary_weights > 4_900_000
    bench = NativeBench(elaborate(with_models(board)), boots=True)
    prompts = [model.vocab[10 + k] for k in range(board.device_config.sequences)]
    with Board(VirtualBoard(bench, "5 million weights")) as chip:
        run_like_the_reference(chip, model, prompts, FINE)


def test_a_memory_that_is_asked_too_early_gives_no_weights(seed: int) -> None:
    board = with_models(ulx3s(outside=SMALL, buffer_words=256, sequences=2),
                        replace(SMALL, activate=3))
    bench = NativeBench(elaborate(board), boots=True)
    with Board(VirtualBoard(bench, "slow")) as chip:
        with pytest.raises(DeviceError):
            chip.load(Model.random(SHAPE, seed))
        assert bench.values()["violation"] == 1
