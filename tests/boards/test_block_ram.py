"""Boards that keep weights in block RAM: the reference's tokens, before and after mapping."""

from contextlib import closing

import pytest

from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.flow.build import BoardDesign, Hdl, elaborate, synthesise
from trilight.hw.support.boards import load_board
from trilight.sim.board import VirtualBoard
from trilight.sim.native.compile import NativeBench
from trilight.sw.host.driver import Board
from trilight.sw.host.targets import open_transport
from trilight.sw.host.transport import Transport
from trilight.sw.model.model import Model

CONFIG = ModelConfig(vocab_size=30, d_model=40, n_layers=2, d_hidden=60)

BOARDS = ["tang-nano-20k", "ulx3s-85f", *(pytest.param(name, marks=pytest.mark.slow)
                                          for name in ("ulx3s-45f", "colorlight-i5"))]
"""One for each size of the weight memory; the first two write theirs in different ways."""


def tokens(transport: Transport, model: Model, seed: int) -> list[list[int]]:
    """Return the tokens after each prompt; both run at once."""
    found: list[list[int]] = [[], []]
    with closing(transport), Board(transport) as board:
        board.load(model)
        for token in board.generate_many(
                [model.decode([1, 2, 3]), model.decode([4])], tokens=20, temperature=0.7,
                seeds=[seed, seed + 1]):
            found[token.prompt].append(token.id)
    return found


@pytest.fixture(scope="module")
def model(seed: int) -> Model:
    return Model.random(CONFIG, seed)


def check(hdl: Hdl, model: Model, seed: int) -> None:
    assert tokens(VirtualBoard(NativeBench(hdl)), model, seed) == tokens(
        open_transport("reference"), model, seed)


def fast(name: str) -> BoardDesign:
    """The board with a serial line whose slowness does not take most of a simulation."""
    kind = type("Fast", (load_board(name),), {"default_baud": None, "max_baud": 12_000_000})
    board: BoardDesign = kind()
    return board


@pytest.mark.parametrize("name", BOARDS)
def test_rtl_gives_the_references_tokens(name: str, model: Model, seed: int) -> None:
    check(elaborate(fast(name)), model, seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ulx3s-45f", "tang-nano-20k", "ulx3s-85f"])
def test_netlist_gives_the_references_tokens(name: str, model: Model, seed: int) -> None:
    check(synthesise(fast(name)), model, seed)
