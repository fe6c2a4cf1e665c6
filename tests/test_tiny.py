"""One token through everything, in the order in which it happens. Read this first.

A text becomes tokens, a model becomes the words of a device's memories, the words go through the
protocol into a device, and a token comes back. Everybody who computes it has to give the same one:
the integer reference, the emulated device behind the driver, and the gateware.
"""

from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.contract.trits import FILE_CODE
from trilight.hw.interfaces import LOGIT_LATENCY
from trilight.hw.sampler import Sampler as SamplerGateware
from trilight.hw.support.boards import board_device
from trilight.sw.host.driver import Board
from trilight.sw.host.emulator import ReferenceTransport
from trilight.sw.model.image import Image, compile_image
from trilight.sw.model.model import Model
from trilight.sw.reference.model import ReferenceModel
from trilight.sw.reference.sampler import Sampler

DEVICE = board_device()

PROMPT = "(1+1"

SHAPE = ModelConfig(vocab_size=20, d_model=16, n_layers=1, d_hidden=16)
"""As small as the engine takes: 2,112 ternary weights."""

Integers = np.ndarray[Any, np.dtype[Any]]


@pytest.fixture(scope="module")
def model(seed: int) -> Model:
    """Random weights in the form that a trained model has: integers only."""
    return Model.random(SHAPE, seed)


@pytest.fixture(scope="module")
def logits(model: Model) -> Integers:
    """Scores of every token to follow the prompt, by the integer reference.

    The reference is the contract, and ``_advance`` in ``sw/reference/model.py`` all of a token:
    embedding, then for each layer a recurrent mixer (MLGRU) and a gated linear unit, then the head.
    It keeps a state of fixed size, so a token costs the same wherever it stands.
    """
    reference = ReferenceModel(model)
    *before, last = model.encode(PROMPT)
    for token in before:
        reference.feed([token])
    scores: Integers = reference.step([last])[0]
    return scores


def test_1_text_is_tokens(model: Model) -> None:
    """A token is the index of a character in the vocabulary."""
    tokens = model.encode(PROMPT)
    assert "".join(model.vocab[token] for token in tokens) == PROMPT


def test_2_weights_are_trits(model: Model) -> None:
    """A weight is -1, 0 or +1, and five of them are a byte: a sign and an index into a table.

    The engine fills a table with the sums of five activations under all signs, so that looking up a
    byte is a dot product of five. No multiplier is used, and nothing decodes the byte.
    """
    trits = FILE_CODE.to_trits
    assert len(trits) == 3**5
    assert trits[FILE_CODE.sign | 1] == tuple(-trit for trit in trits[1])
    assert model.config.ternary_weights == 2_112


def test_3_a_model_is_words_of_memory(model: Model) -> None:
    """The image compiler lays out weights, program, tables and biases as a device keeps them."""
    image = compile_image(model, DEVICE)
    assert model.config.violations(DEVICE) == []
    data = image.to_bytes()
    assert Image.from_bytes(data).to_bytes() == data


def test_4_a_device_gives_the_token(model: Model, logits: Integers) -> None:
    """The driver loads the image over the protocol, runs the prompt, and a token comes back.

    This device is emulated and knows of the model what was written into its memories. Behind the
    same driver stand the simulated chip (``--target rtl`` and ``netlist``) and a board.
    """
    with Board(ReferenceTransport()) as board:
        board.load(model)
        [token] = board.generate(PROMPT, tokens=1, temperature=0)
    assert token.id == int(np.argmax(logits))


def test_5_the_gateware_gives_the_token(logits: Integers) -> None:
    """The last block of the chip takes the logits, one a cycle, and keeps the largest.

    Amaranth simulates it here; ``tests/sim/bench/test_benches.py`` does so with every block, with
    the core and with the whole chip, and compares every number on the way.
    """
    sampler = SamplerGateware(device=DEVICE)
    found: list[int] = []

    async def testbench(ctx: Any) -> None:
        vector, last = sampler.logits, len(logits) - 1
        for cycle in range(last + LOGIT_LATENCY + 4):
            index = cycle - LOGIT_LATENCY
            ctx.set(vector.draw, cycle <= last)
            ctx.set(vector.logits.valid, 0 <= index <= last)
            if 0 <= index <= last:
                ctx.set(vector.logits.payload, {"value": int(logits[index]),
                                                "last": index == last})
            await ctx.tick()
            if ctx.get(sampler.done):
                found.append(ctx.get(sampler.sampling.token))

    simulator = Simulator(sampler)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    assert found == [int(np.argmax(logits))]


def test_6_chance_is_part_of_the_contract(model: Model, logits: Integers, seed: int) -> None:
    """At a temperature noise is added, from a generator that the seed alone decides."""
    with Board(ReferenceTransport()) as board:
        board.load(model)
        [token] = board.generate(PROMPT, tokens=1, temperature=1.0, seed=seed)
    assert token.id == Sampler(seed, 1.0).sample(logits)
