"""A chip whose clock stops while nothing runs, with a host that wakes it and one that does not."""

from dataclasses import replace

import pytest

from trilight.boards.icebreaker import Icebreaker
from trilight.boards.upduino3 import Upduino3
from trilight.hw.contract.errors import BoardError
from trilight.hw.contract.protocol import (
    REST_SECONDS,
    RUN,
    START_SECONDS,
    WORD_BYTES,
    Command,
    Region,
    RunFlag,
    Slip,
)
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.flow.build import Hdl, elaborate
from trilight.hw.support.boards import board_device
from trilight.sim.native.bench import Bench
from trilight.sim.native.compile import NativeBench
from trilight.sw.host.driver import Board
from trilight.sw.host.link import Link, Request, write_request
from trilight.sw.host.transport import Transport
from trilight.sw.model.model import Model
from trilight.sw.reference.continuation import continue_text
from trilight.sw.reference.sampler import temperature_to_fixed

DEVICE = board_device()
TOKENS = 4
PROMPT = [1, 2, 3]
CHUNK = 2000

FASTER = 100
"""Factor by which timeouts are shorter than a board's."""


class Stopping(Icebreaker):
    """Stops after a time that is as short as the driver's timeouts are here."""

    idle_stop = True
    rest_seconds = REST_SECONDS / FASTER


REST_CYCLES = 2 * round(Stopping.rest_seconds * Stopping.default_hz)


class Cycles(Transport):
    """A chip whose clock tells the driver's time, so that silence is silence for both ends.

    Parameters
    ----------
    wakes
        Whether it does what a serial port does after a silence.
    """

    cycles_per_s = Stopping.default_hz / FASTER

    def __init__(self, bench: Bench, *, wakes: bool) -> None:
        self.bench = bench
        self.stops = 0
        self.wakes = wakes

    @property
    def name(self) -> str:
        return "the compiled design"

    def now(self) -> float:
        return self.bench.cycles / self.cycles_per_s

    def write(self, data: bytes) -> None:
        self.bench.write(data)

    def wake(self) -> None:
        if self.wakes:
            self.bench.write(bytes([Slip.END]))
            self.run(round(START_SECONDS * Stopping.default_hz))

    def run(self, cycles: int) -> None:
        self.bench.run(cycles)
        shown = self.bench.values()
        assert not (shown["stopped"] and (shown["running"] or shown["checking"]))

    def read(self, timeout_s: float) -> bytes:
        until = self.bench.cycles + round(timeout_s * self.cycles_per_s)
        while not (data := self.bench.read()) and self.bench.cycles < until:
            self.run(CHUNK)
        return data

    def rest(self) -> None:
        """Wait until the clock has stopped."""
        for _ in range(10):
            if self.bench.values()["stopped"]:
                break
            self.run(REST_CYCLES)
        else:
            raise AssertionError("the clock did not stop")
        self.stops += 1

    def close(self) -> None:
        self.bench.close()


@pytest.fixture
def model(seed: int) -> Model:
    return Model.random(ModelConfig(vocab_size=24, d_model=40, n_layers=1, d_hidden=40), seed)


@pytest.fixture(scope="module")
def design() -> Hdl:
    return elaborate(Stopping())


@pytest.fixture(params=[True, False], ids=["woken", "unaware"])
def transport(design: Hdl, request: pytest.FixtureRequest) -> Cycles:
    return Cycles(NativeBench(design), wakes=request.param)


def test_tokens_after_stops(transport: Cycles, model: Model, seed: int) -> None:
    transport.rest()
    with Board(transport) as board:
        transport.rest()
        board.load(model)
        for k in range(2):
            transport.rest()
            prompt = model.decode([*PROMPT, k])
            assert [token.id for token in board.generate(prompt, tokens=TOKENS, seed=seed)] == (
                continue_text(model, prompt, TOKENS, seed=seed, temperature=0.8))
        assert transport.stops == 4
        # A frame that comes while the clock starts is lost, and sent again.
        assert (board.repeats == 0) == transport.wakes


def test_stops_between_tokens(transport: Cycles, model: Model, seed: int) -> None:
    """State, tape and random generator are kept: each token is a run of its own, after a stop."""
    temperature = temperature_to_fixed(0.8)
    with Board(transport) as board:
        board.load(model)
        link = Link(transport)
        tape = b"".join(token.to_bytes(WORD_BYTES, "little") for token in PROMPT)
        link.request(write_request(Region.TAPE, tape)).check()
        flags, feeds = RunFlag.RESET | RunFlag.SEED, len(PROMPT)
        for _ in range(TOKENS):
            transport.rest()
            link.request(Request(Command.RUN, RUN.pack(
                flags, 0, feeds, 1, temperature, seed))).check()
            flags, feeds = RunFlag(0), 1
            transport.run(100_000)
            link.listen(0.001)
        assert transport.stops == TOKENS
        assert [event.token for event in link.events] == continue_text(
            model, model.decode(PROMPT), TOKENS, seed=seed, temperature=0.8)


def test_what_can_not_stop() -> None:
    class Internal(Upduino3):
        idle_stop = True

    with pytest.raises(BoardError, match="internal oscillator"):
        Internal()
    with pytest.raises(BoardError, match="first character"):
        Stopping(device=replace(DEVICE, terminal=True, sequences=1))
