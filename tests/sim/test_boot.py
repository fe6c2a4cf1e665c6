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


OTHERS = {"pico-ice": (PicoIce, elaborate), "ulx3s": (Ulx3s45F, elaborate),
          "ulx3s-netlist": (Ulx3s45F, synthesise)}
"""Boards with other pins, or with an offset, clock and lines of their own."""


def bench_that_speaks(name: str, model: Model, seed: int) -> NativeBench:
    board, make = OTHERS[name]
    device = board().device_config
    speech = Speech(prompt=[3, 2, 1], tokens=TOKENS, temperature=temperature_to_fixed(0.8),
                    seed=seed)
    tables = terminal_tables(model.vocab, speech) if device.terminal else None
    return NativeBench(make(board()), flash=flash_image(
        compile_image(model, device), device, speech, tables))


@pytest.mark.parametrize("name", ["pico-ice", "ulx3s", pytest.param(
    "ulx3s-netlist", marks=pytest.mark.slow)])
def test_other_boards_speak_by_themselves(name: str, model: Model, seed: int) -> None:
    """The ULX3S has a terminal, so it says characters.

    On the slower line of the pico-ice tokens that come while one is announced are not announced.
    """
    bench = bench_that_speaks(name, model, seed)
    bench.run(10**6, idle=100 * bench.clocks_per_bit)
    said = bench.read()
    bench.close()
    tokens = expected(model, model.decode([3, 2, 1]), seed)
    if bench.hdl.board.device_config.terminal:
        assert said.decode() == model.decode(tokens).replace("\n", "\r\n")
    else:
        events = [TOKEN_EVENT.unpack(frame.payload) for frame in FrameReader().feed(said)[1:]]
        assert events[0] == (3, tokens[0])
        assert set(events) <= set(enumerate(tokens, 3))


@pytest.mark.parametrize("name", ["pico-ice", "ulx3s"])
def test_hosts_find_the_models_of_other_boards(name: str, model: Model, seed: int) -> None:
    """In frames, which take the line from a terminal."""
    prompt = model.decode([1, 2])
    with Board(VirtualBoard(bench_that_speaks(name, model, seed))) as board:
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
