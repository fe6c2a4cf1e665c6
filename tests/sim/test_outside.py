"""Whole models with weights from outside the chip: every token is that of the reference.

The memories are models that check when they are asked: a read too early spoils what is read.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from trilight.boards.icebreaker_flash import IcebreakerFlash
from trilight.boards.ulx3s_sdram import Ulx3s85FSdram
from trilight.hw.contract.noise import BYTE, FINE, NoiseFormat
from trilight.hw.contract.outside import Sdram, WordPort
from trilight.hw.contract.protocol import ADDRESS, RUN, Command, Region, RunFlag, status_struct
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.flow.build import elaborate
from trilight.sim.board import VirtualBoard
from trilight.sim.native.compile import NativeBench
from trilight.sim.outside import FASTEST, with_models
from trilight.sw.errors import DeviceError
from trilight.sw.host.driver import Board, LastRun
from trilight.sw.host.link import Link, read_request
from trilight.sw.host.link import Request as Frame
from trilight.sw.model.model import Model
from trilight.sw.reference.continuation import continue_text
from trilight.sw.report.performance import predict
from trilight.sw.report.schedule import Schedule, SequenceRequest

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


@pytest.fixture(scope="module")
def flash() -> Iterator[VirtualBoard]:
    with_flash = with_models(BOARDS["flash, SPRAM"])
    board = VirtualBoard(NativeBench(elaborate(with_flash), boots=True), "flash")
    yield board
    board.close()


def count(link: Link, requests: list[SequenceRequest | None], sequences: int) -> tuple[int, int]:
    """Run to the end; the chip's cycles, and those in which its engine waited for a word."""
    asked = [(k, request) for k, request in enumerate(requests) if request is not None]
    for number, (sequence, request) in enumerate(asked):
        flags = RunFlag.RESET | RunFlag.CLEAR
        if number < len(asked) - 1:
            flags |= RunFlag.HOLD
        link.request(Frame(Command.RUN, RUN.pack(
            flags, sequence, request.feed, request.generate, 0, 0))).check()
    while True:
        running, cycles, *_ = status_struct(sequences).unpack(
            link.request(Frame(Command.STATUS)).check())
        if not running:
            break
        time.sleep(0.01)
    stalls = link.request(read_request(Region.WEIGHT_CRC + 4, 2)).check()
    return cycles, int.from_bytes(stalls, "little")


SHAPES = {
    "one block": ModelConfig(vocab_size=40, d_model=40, n_layers=1, d_hidden=40),
    "two layers": SHAPE,
    "many layers": ModelConfig(vocab_size=33, d_model=23, n_layers=10, d_hidden=57),
}
RUNS: list[list[SequenceRequest | None]] = [
    [SequenceRequest(3)],
    [SequenceRequest(2, 3)],
    [SequenceRequest(1, 3), SequenceRequest(1, 3)],
    [SequenceRequest(3, 1), SequenceRequest(1, 4)],
    [SequenceRequest(1, 4), SequenceRequest(4)],
    [None, SequenceRequest(2, 2)],
]


@pytest.mark.parametrize("shape", SHAPES)
def test_cycles_are_the_chips_and_stalls_nearly(shape: str, flash: VirtualBoard, seed: int) -> None:
    device = BOARDS["flash, SPRAM"].device_config
    chip = Board(flash)
    chip.load(Model.random(SHAPES[shape], seed))
    link = Link(flash)
    for sequence in range(device.sequences):
        address = Region.TAPE + sequence * device.tape_tokens
        link.request(Frame(Command.WRITE, ADDRESS.pack(address) + bytes(2 * 8))).check()
    for requests in RUNS:
        computed = Schedule(SHAPES[shape], requests, device)
        stalls = sum(stage.gaps.get("memory outside", 0) for stage in computed.stages)
        cycles, waited = count(link, requests, device.sequences)
        assert cycles == computed.cycles
        assert waited == pytest.approx(stalls, rel=0.03)


def test_a_memory_that_is_asked_too_early_gives_no_weights(seed: int) -> None:
    board = with_models(ulx3s(outside=SMALL, buffer_words=256, sequences=2),
                        replace(SMALL, activate=3))
    bench = NativeBench(elaborate(board), boots=True)
    with Board(VirtualBoard(bench, "slow")) as chip:
        with pytest.raises(DeviceError):
            chip.load(Model.random(SHAPE, seed))
        assert bench.values()["violation"] == 1
