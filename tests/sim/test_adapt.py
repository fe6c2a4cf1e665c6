"""A board that learns while it reads: driver, emulated device and simulated chip alike."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from trilight.hw.contract.device import Device, WeightMemory
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.flow.build import BoardDesign, elaborate, synthesise
from trilight.hw.support.boards import make_board
from trilight.sim.board import VirtualBoard
from trilight.sw.errors import PromptError
from trilight.sw.host.driver import Board
from trilight.sw.host.emulator import ReferenceTransport
from trilight.sw.model.model import Model
from trilight.sw.reference.adaptation import Adaptation
from trilight.sw.reference.model import ReferenceModel
from trilight.sw.reference.sampler import Sampler

CONFIG = ModelConfig(vocab_size=19, d_model=24, n_layers=2, d_hidden=20)

ROWS = 64


def learning_device(orders: int, token_rows: int = 0) -> Device:
    return Device(name="learns", weight_words=512, weight_memory=WeightMemory.BLOCK_RAM,
                  tape_tokens=16, max_vocab=20, adapt_orders=orders, adapt_rows=ROWS,
                  adapt_token_rows=token_rows)


@pytest.fixture
def model(rng: np.random.Generator) -> Model:
    made = Model.random(CONFIG, seed=int(rng.integers(1 << 30)))
    return replace(made, vocab=tuple("abcdefghijklmnopqrs"))


def draw_prompts(rng: np.random.Generator, count: int) -> list[str]:
    """Prompts with habits, longer and shorter than the tape."""
    return ["".join(rng.choice(["ab", "cde", "f"], rng.integers(1, 20))) for _ in range(count)]


def expected(model: Model, prompts: Sequence[str], tokens: int, device: Device
             ) -> tuple[list[list[int]], Adaptation]:
    """Tokens of each prompt by the reference, and what was learnt: an account of its own."""
    adaptation = Adaptation(CONFIG.vocab_size, token_rows=device.adapt_token_rows,
                            rows=device.adapt_rows if device.adapt_orders > 1 else 0)
    found = []
    for seed, prompt in enumerate(prompts):
        reference, sampler = ReferenceModel(model), Sampler(seed, 0.8)
        adaptation.begin()
        *before, token = model.encode(prompt)
        for fed in before:
            adaptation.read(fed)
            adaptation.draw_with(sampler.rng, adaptation.biased(reference.step([fed])[0]))
        generated = []
        for _ in range(tokens):
            adaptation.read(token)
            token = sampler.sample(adaptation.biased(reference.step([token])[0]))
            generated.append(token)
        found.append(generated)
    return found, adaptation


def in_device(device: Device, adaptation: Adaptation) -> bytes:
    """What a device keeps of it: rows and columns for every number of token_bits."""
    places = 1 << device.token_bits
    tables = []
    for table, rows in ((adaptation.first, device.adapt_token_rows or places),
                        (adaptation.second, device.adapt_rows)):
        if len(table):
            padded = np.zeros((rows, places), np.int8)
            padded[:len(table), :table.shape[1]] = table
            tables.append(padded.tobytes())
    return b"".join(tables)


@pytest.mark.parametrize(("orders", "token_rows"), [(1, 0), (1, 8), (2, 0)])
def test_emulated_board_learns_as_the_reference(
        orders: int, token_rows: int, model: Model, rng: np.random.Generator) -> None:
    device = learning_device(orders, token_rows)
    prompts = draw_prompts(rng, 4)
    with Board(ReferenceTransport(device)) as board:
        board.load(model)
        got = [[token.id for token in board.generate(prompt, tokens=9, seed=seed, adapt=True)]
               for seed, prompt in enumerate(prompts)]
        tokens, adaptation = expected(model, prompts, 9, device)
        assert got == tokens
        learnt = board.learnt()
        assert learnt == in_device(device, adaptation)
        assert any(learnt)
        assert board.identity.device.adapt_depths == device.adapt_depths
        # Without it, the tokens are those of the model alone, and nothing is learnt.
        plain = [token.id for token in board.generate(prompts[0], tokens=9, seed=0)]
        with Board(ReferenceTransport()) as other:
            other.load(model)
            assert plain == [t.id for t in other.generate(prompts[0], tokens=9, seed=0)]
        assert board.learnt() == learnt
        # Forgotten, and restored.
        board.restore_learnt()
        assert not any(board.learnt())
        board.restore_learnt(learnt)
        assert board.learnt() == learnt
        with pytest.raises(PromptError, match="come from another kind of device"):
            board.restore_learnt(learnt[:-1])


def test_board_that_learns_nothing_says_so(model: Model) -> None:
    with Board(ReferenceTransport()) as board:
        board.load(model)
        for ask in (board.learnt, board.restore_learnt,
                    lambda: board.generate("ab", tokens=1, adapt=True)):
            with pytest.raises(PromptError, match="learns nothing while it reads"):
                ask()


def small(device: Device) -> BoardDesign:
    board: BoardDesign = make_board("ulx3s-85f", device=device)
    return board


@pytest.fixture(scope="module", params=[
    pytest.param(lambda: elaborate(small(learning_device(2))), id="rtl"),
    pytest.param(lambda: elaborate(small(learning_device(1, token_rows=4))), id="rtl-4-rows"),
    # The cells of either family, of the whole chip.
    *(pytest.param(lambda board=board: synthesise(make_board(board)), id=board,
                   marks=pytest.mark.slow)
      for board in ("icebreaker-learns", "ulx3s-45f-learns"))])
def chip(request: pytest.FixtureRequest) -> Iterator[VirtualBoard]:
    board = VirtualBoard(request.param())
    yield board
    board.close()


def test_chip_learns_as_the_emulated_board(
        chip: VirtualBoard, model: Model, rng: np.random.Generator,
        monkeypatch: pytest.MonkeyPatch) -> None:
    # The chip is faster than its line, so that tokens are read from the tape, where letters of the
    # prompt were before. Nothing comes late here, so they are believed.
    monkeypatch.setattr("trilight.sw.host.session.LATE_S", 0)
    prompts = draw_prompts(rng, 3)
    with Board(chip) as board:
        device = board.identity.device
        board.load(model)
        board.restore_learnt()
        got = [[token.id for token in board.generate(prompt, tokens=6, seed=seed, adapt=True)]
               for seed, prompt in enumerate(prompts)]
        tokens, adaptation = expected(model, prompts, 6, device)
        assert got == tokens
        assert board.learnt() == in_device(device, adaptation)
        assert any(board.learnt())
        static = [token.id for token in board.generate(prompts[0], tokens=6, seed=0)]
    with Board(ReferenceTransport()) as other:
        other.load(model)
        assert static == [t.id for t in other.generate(prompts[0], tokens=6, seed=0)]
