"""A chip that boots from a flash memory beside it, before synthesis and as cells."""

from typing import Any

import pytest

from trilight.boards.icebreaker import Icebreaker
from trilight.boards.images import Speech as Silence
from trilight.boards.images import make_image
from trilight.boards.pico_ice import PicoIce
from trilight.boards.ulx3s import Ulx3s45F
from trilight.hw.contract.protocol import EVENT, RESPONSE, TOKEN_EVENT, Command, Region, boot_cycles
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.flow.build import Hdl, elaborate, find_board, synthesise
from trilight.hw.support.boards import board_device, board_names
from trilight.sim.board import VirtualBoard
from trilight.sim.native.compile import NativeBench
from trilight.sw.host.boot import Speech, flash_image, terminal_tables
from trilight.sw.host.driver import Board
from trilight.sw.host.frames import Frame, FrameReader
from trilight.sw.model.image import compile_image
from trilight.sw.model.model import Model
from trilight.sw.reference.continuation import continue_text
from trilight.sw.reference.sampler import temperature_to_fixed

DEVICE = board_device()

TOKENS = 12


class Counted(VirtualBoard):
    """Counts what the host sends to the weight memory."""

    weights = 0

    def write(self, data: bytes) -> None:
        for frame in FrameReader().feed(data):
            address = int.from_bytes(frame.payload[:4], "little")
            self.weights += frame.command == Command.WRITE and address < Region.PROGRAM
        super().write(data)


@pytest.fixture(scope="module", params=[elaborate, pytest.param(
    synthesise, marks=pytest.mark.slow)], ids=["rtl", "netlist"])
def hdl(request: pytest.FixtureRequest) -> Hdl:
    made: Hdl = request.param(Icebreaker())
    return made


@pytest.fixture
def model(seed: int) -> Model:
    return Model.random(ModelConfig(vocab_size=24, d_model=40, n_layers=1, d_hidden=40), seed)


def expected(model: Model, prompt: str, seed: int) -> list[int]:
    return continue_text(model, prompt, TOKENS, seed=seed, temperature=0.8)


def image(model: Model, **options: Any) -> bytes:
    return flash_image(compile_image(model, DEVICE), DEVICE, **options)


def test_a_host_finds_the_model_loaded(hdl: Hdl, model: Model, seed: int) -> None:
    prompt = model.decode([1, 2, 3])
    with Board(Counted(NativeBench(hdl, flash=image(model)))) as board:
        transport = board.transport
        assert isinstance(transport, Counted)
        board.load(model)
        assert board.resident
        assert transport.weights == 0
        assert [token.id for token in board.generate(prompt, tokens=TOKENS, seed=seed)] == expected(
            model, prompt, seed)
        other = Model.random(model.config, seed + 1)
        board.load(other)
        assert not board.resident
        assert transport.weights > 0


def test_it_speaks_by_itself(hdl: Hdl, model: Model, seed: int) -> None:
    speech = Speech(prompt=[3, 2, 1], tokens=TOKENS, temperature=temperature_to_fixed(0.8),
                    seed=seed)
    bench = NativeBench(hdl, flash=image(model, speech=speech))
    bench.run(10**6, idle=2000)
    reader = FrameReader()
    frames = reader.feed(bench.read())
    bench.close()
    assert reader.damaged == 0
    assert frames[0] == Frame(1, Command.RUN | RESPONSE, b"\0")
    events = [TOKEN_EVENT.unpack(frame.payload) for frame in frames[1:]]
    assert {frame.command for frame in frames[1:]} == {EVENT}
    assert events == list(enumerate(expected(model, model.decode([3, 2, 1]), seed), 3))


@pytest.mark.parametrize("where", ["weights", "end"])
def test_a_damaged_image_is_not_run(hdl: Hdl, model: Model, seed: int, where: str) -> None:
    speech = Speech(prompt=[1], tokens=TOKENS, temperature=0, seed=seed)
    data = bytearray(image(model, speech=speech))
    at = 300 if where == "weights" else len(data) - 60
    data[at] ^= 1
    bench = NativeBench(hdl, flash=bytes(data))
    bench.run(10**5)
    # Damage between two frames is noticed while the first one is still being answered.
    assert all(frame.command == Command.WRITE | RESPONSE
               for frame in FrameReader().feed(bench.read()))
    with Board(VirtualBoard(bench)) as board:
        prompt = model.decode([1])
        board.load(model)
        assert board.resident == (where == "end")
        assert [token.id for token in board.generate(prompt, tokens=TOKENS, seed=seed)] == expected(
            model, prompt, seed)


@pytest.fixture(scope="module", params=[
    (PicoIce, elaborate), (Ulx3s45F, elaborate),
    pytest.param((Ulx3s45F, synthesise), marks=pytest.mark.slow)],
    ids=["pico-ice", "ulx3s", "ulx3s-netlist"])
def other(request: pytest.FixtureRequest) -> Hdl:
    """Another board: with other pins, or with an offset, clock and lines of its own."""
    board, make = request.param
    made: Hdl = make(board())
    return made


def test_other_boards_boot(other: Hdl, model: Model, seed: int) -> None:
    """The ULX3S has a terminal, so it says characters, and frames when it is asked in frames.

    On the slower line of the pico-ice tokens that come while one is announced are not announced.
    """
    device = other.board.device_config
    prompt = model.decode([3, 2, 1])
    speech = Speech(prompt=[3, 2, 1], tokens=TOKENS, temperature=temperature_to_fixed(0.8),
                    seed=seed)
    tables = terminal_tables(model.vocab, speech) if device.terminal else None
    bench = NativeBench(other, flash=flash_image(
        compile_image(model, device), device, speech, tables))
    bench.run(10**6, idle=100 * other.board.clocks_per_bit)
    said = bench.read()
    if device.terminal:
        assert said.decode() == model.decode(expected(model, prompt, seed)).replace("\n", "\r\n")
    else:
        events = [TOKEN_EVENT.unpack(frame.payload) for frame in FrameReader().feed(said)[1:]]
        tokens = list(enumerate(expected(model, prompt, seed), 3))
        assert events[0] == tokens[0]
        assert set(events) <= set(tokens)
    with Board(VirtualBoard(bench)) as board:
        board.load(model)
        assert board.resident
        assert [token.id for token in board.generate(prompt, tokens=TOKENS, seed=seed)] == expected(
            model, prompt, seed)


@pytest.mark.parametrize("name", board_names())
def test_load_of_the_bundled_model(name: str) -> None:
    """It takes less than 200 ms on every board that boots."""
    board = find_board(name)
    if board.flash_pins:
        data = make_image("bundled", board.device_config, Silence())
        assert boot_cycles(len(data), board.clock_hz) / board.clock_hz < 0.2
