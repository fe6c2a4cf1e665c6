"""Fixtures of the tests of a family's cells, which say board, blocks and how to place logic."""

import numpy as np
import pytest

from .mapped import FACTORS, blocks, differences, map_blocks, mapped_shapes
from .pairs import Pairs

Modes = dict[str, set[str]]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cell" in metafunc.fixturenames:
        metafunc.parametrize("cell", metafunc.module.LOGIC)
    if "block" in metafunc.fixturenames:
        metafunc.parametrize(
            "block", [*mapped_shapes(metafunc.module.BOARD), *FACTORS])


@pytest.fixture(scope="module")
def mapped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory,
           seed: int) -> tuple[str, Modes]:
    """Modules as blocks, and the modes that each uses."""
    return map_blocks(request.module.BOARD, request.module.BLOCKS,
                      tmp_path_factory.mktemp("mapped"), np.random.default_rng(seed))


@pytest.fixture(scope="module")
def logic_differences(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory,
                      seed: int) -> dict[str, int]:
    """Cycles in which a cell and Yosys' model of it differ."""
    family, pairs = request.module, Pairs(np.random.default_rng(seed), "yosys_")
    family.logic(pairs)
    return differences(pairs, family.BOARD, family.yosys_logic(), tmp_path_factory.mktemp("logic"))


@pytest.fixture(scope="module")
def block_differences(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory,
                      seed: int, mapped: tuple[str, Modes]) -> dict[str, int]:
    """Cycles in which a module as blocks and its RTL differ."""
    pairs = Pairs(np.random.default_rng(seed), "rtl_")
    blocks(pairs, request.module.BOARD)
    return differences(pairs, request.module.BOARD, mapped[0], tmp_path_factory.mktemp("blocks"))
