"""The performance model against the counters of the simulated chip, cycle for cycle."""

import time
from collections.abc import Iterator

import pytest

from trilight.boards.icebreaker import Icebreaker
from trilight.hw.contract.device import Device
from trilight.hw.contract.protocol import (
    ADDRESS,
    MAX_WORDS,
    RUN,
    Command,
    Region,
    RunFlag,
    status_struct,
)
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.flow.build import elaborate
from trilight.hw.support.boards import board_device
from trilight.sim.board import VirtualBoard
from trilight.sw.host.link import Link
from trilight.sw.host.link import Request as Frame
from trilight.sw.model.image import compile_image
from trilight.sw.model.model import Model
from trilight.sw.report.performance import predict
from trilight.sw.report.schedule import Schedule, SequenceRequest

DEVICE = board_device()

SHAPES = {
    "least": ModelConfig(vocab_size=16, d_model=16, n_layers=1, d_hidden=16),
    "one block": ModelConfig(vocab_size=40, d_model=40, n_layers=1, d_hidden=40),
    "one column more": ModelConfig(vocab_size=41, d_model=41, n_layers=2, d_hidden=81),
    "short words everywhere": ModelConfig(vocab_size=20, d_model=32, n_layers=2, d_hidden=24),
    "many layers": ModelConfig(vocab_size=33, d_model=23, n_layers=10, d_hidden=57),
    "wide": ModelConfig(vocab_size=100, d_model=170, n_layers=1, d_hidden=256),
    "long": ModelConfig(vocab_size=129, d_model=61, n_layers=2, d_hidden=199),
    "few rows, many columns": ModelConfig(vocab_size=17, d_model=18, n_layers=3, d_hidden=250),
}


class Chip:
    """The chip of a device behind its link, by frames."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._board = VirtualBoard(elaborate(Icebreaker(device=device)))
        self._link = Link(self._board)
        self._link.request(Frame(Command.IDENTIFY), sequence=0)

    def close(self) -> None:
        self._board.close()

    def load(self, model: Model) -> None:
        self._link.exchange([
            Frame(Command.WRITE, ADDRESS.pack(address + start)
                  + units[start:start + MAX_WORDS].astype("<u2").tobytes())
            for address, units in compile_image(model, DEVICE).segments
            for start in range(0, len(units), MAX_WORDS)])
        # The tapes hold whatever they do: any token takes as long.
        for sequence in range(DEVICE.sequences):
            address = Region.TAPE + sequence * DEVICE.tape_tokens
            self._link.request(Frame(Command.WRITE, ADDRESS.pack(address) + bytes(2 * 8))).check()

    def run(self, requests: list[SequenceRequest | None]) -> dict[str, int]:
        """Run to the end; the chip's counters."""
        asked = [(k, request) for k, request in enumerate(requests) if request is not None]
        for number, (sequence, request) in enumerate(asked):
            flags = RunFlag.RESET | RunFlag.CLEAR
            if number < len(asked) - 1:
                flags |= RunFlag.HOLD
            self._link.request(Frame(Command.RUN, RUN.pack(
                flags, sequence, request.feed, request.generate, 0, 0))).check()
        while True:
            running, cycles, words, tokens, *_ = status_struct(DEVICE.sequences).unpack(
                self._link.request(Frame(Command.STATUS)).check())
            if not running:
                return {"cycles": cycles, "words": words, "tokens": tokens}
            time.sleep(0.01)


@pytest.fixture(scope="module")
def chip() -> Iterator[Chip]:
    chip = Chip(DEVICE)
    yield chip
    chip.close()


def counted(model: ModelConfig, requests: list[SequenceRequest | None],
            device: Device = DEVICE) -> dict[str, int]:
    schedule = Schedule(model, requests, device)
    return {"cycles": schedule.cycles, "words": sum(stage.words for stage in schedule.stages),
            "tokens": len(schedule.tokens)}


RUNS: list[list[SequenceRequest | None]] = [
    [SequenceRequest(1)],
    [SequenceRequest(3)],
    [SequenceRequest(1, 1)],
    [SequenceRequest(2, 5)],
    [SequenceRequest(1, 3), SequenceRequest(1, 3)],
    [SequenceRequest(3, 1), SequenceRequest(1, 4)],
    [SequenceRequest(1, 4), SequenceRequest(4)],
    [None, SequenceRequest(2, 2)],
]


@pytest.mark.parametrize("shape", SHAPES)
def test_cycles_and_words_are_the_chips(shape: str, chip: Chip, seed: int) -> None:
    config = SHAPES[shape]
    chip.load(Model.random(config, seed))
    found = [chip.run(requests) for requests in RUNS]
    assert found == [counted(config, requests) for requests in RUNS]


@pytest.mark.slow
def test_model_that_fills_the_chip(chip: Chip, seed: int) -> None:
    model = Model.random(ModelConfig(vocab_size=65, d_model=160, n_layers=3, d_hidden=228), seed)
    assert model.config.weight_words(DEVICE.packing) > 0.99 * DEVICE.weight_words
    chip.load(model)
    for count in range(1, DEVICE.sequences + 1):
        requests: list[SequenceRequest | None] = [SequenceRequest(3, 4)] * count
        more: list[SequenceRequest | None] = [SequenceRequest(3, 7)] * count
        found = [chip.run(r) for r in (requests, more)]
        assert found == [counted(model.config, r) for r in (requests, more)]
        steady = (found[1]["cycles"] - found[0]["cycles"]) / (3 * count)
        assert predict(model.config, sequences=count, device=DEVICE).cycles_per_token == steady
