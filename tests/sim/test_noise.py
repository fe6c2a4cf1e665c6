"""Noise and damage on the pins of the synthesised chip: it does nothing and stays in service."""

from collections.abc import Iterator

import numpy as np
import pytest

from trilight.hw.contract.protocol import RUN, Command, RunFlag
from trilight.sim.board import netlist_target
from trilight.sw.host.driver import Board
from trilight.sw.host.frames import Frame, encode_frame
from trilight.sw.host.targets import TargetOptions
from trilight.sw.host.transport import Transport

NOISE_BYTES = 10_000


@pytest.fixture(scope="module")
def chip() -> Iterator[Transport]:
    transport = netlist_target(TargetOptions())
    yield transport
    transport.close()


def answers(chip: Transport) -> bytes:
    """All that the chip still has to say."""
    data = b""
    while piece := chip.read(10):
        data += piece
    return data


def test_random_bytes(chip: Transport, rng: np.random.Generator) -> None:
    chip.write(rng.bytes(NOISE_BYTES))
    assert answers(chip) == b""
    status = Board(chip).status()
    assert (status.running, status.positions, status.counters.tokens) == (False, (0, 0), 0)


def test_every_damaged_byte_of_a_run(chip: Transport) -> None:
    """Each byte of a valid RUN, delimiters apart, in turn takes each wrong value."""
    run = encode_frame(Frame(1, Command.RUN, RUN.pack(RunFlag.RESET, 0, 1, 1, 0, 1)))
    for place in range(1, len(run) - 1):
        damaged = bytearray(run)
        for wrong in range(256):
            if wrong != run[place]:
                damaged[place] = wrong
                chip.write(bytes(damaged))
    assert answers(chip) == b""
    status = Board(chip).status()
    assert (status.running, status.positions, status.counters.tokens) == (False, (0, 0), 0)


def test_host_that_stops_in_a_frame(chip: Transport) -> None:
    run = encode_frame(Frame(1, Command.RUN, RUN.pack(RunFlag.RESET, 0, 1, 1, 0, 1)))
    for length in range(1, len(run) - 1):
        chip.write(run[:length])
        assert answers(chip) == b""
        assert not Board(chip).status().running
