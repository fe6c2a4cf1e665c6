"""Any legal model, extremes included: its image, what the chip makes of it, what integers cost."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trilight.boards.icebreaker import Icebreaker
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.program import Program
from trilight.hw.contract.protocol import Region
from trilight.hw.contract.shapes import ModelConfig, OperationShape
from trilight.hw.contract.trits import FILE_CODE
from trilight.hw.flow.build import elaborate
from trilight.hw.support.boards import board_device
from trilight.sim.native.compile import NativeBench
from trilight.sim.verify.soak_session import Session, SoakOutcome, draw_config, run_model
from trilight.sw.errors import ImageError, ModelDoesNotFitError
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.image import Image, compile_image
from trilight.sw.model.model import MATRICES, Layer, Matrix, Model
from trilight.sw.reference.float_model import FloatReference
from trilight.sw.reference.model import ReferenceModel

DEVICE = board_device()

EDGES = (16, 17, 31, 32, 33, 39, 40, 41, 80, 81)
SCALE_ENDS = (1, (1 << NUMBERS.scale_bits) - 1)

LOGIT_BOUND = 0.6
"""Nats by which the integers may move a logit of the bundled model."""


@st.composite
def configs(draw: st.DrawFn) -> ModelConfig:
    size = st.sampled_from(EDGES) | st.integers(DEVICE.min_rows, 90)
    config = ModelConfig(vocab_size=draw(size), d_model=draw(size), d_hidden=draw(size),
                         n_layers=draw(st.integers(1, 3)))
    while config.violations(DEVICE):
        config = replace(config, n_layers=config.n_layers - 1)
    return config


@st.composite
def models(draw: st.DrawFn) -> Model:
    """Every parameter random, at an end of its range, or all of a matrix alike."""
    config = draw(configs())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    base = Model.random(config, draw(st.integers(0, 2**32 - 1)))

    def trits(shape: tuple[int, ...]) -> NDArray[np.int8]:
        kind = draw(st.sampled_from(["any", "plus", "minus", "zero", "rows", "sparse"]))
        constant = {"plus": 1, "minus": -1, "zero": 0}
        if kind in constant:
            return np.full(shape, constant[kind], np.int8)
        if kind == "rows":
            return np.broadcast_to(rng.choice([-1, 1], (shape[0], 1)), shape).astype(np.int8)
        return rng.choice([-1, 0, 1], shape,
                          p=[.02, .96, .02] if kind == "sparse" else None).astype(np.int8)

    def matrix(original: Matrix) -> Matrix:
        scale = draw(st.just(original.scale) | st.sampled_from(SCALE_ENDS))
        return Matrix(trits(original.trits.shape), scale)

    def vector(low: int, high: int) -> NDArray[np.int16]:
        ends = rng.choice([low, 0, high], config.d_model)
        return draw(st.sampled_from([
            ends, rng.integers(low, high + 1, config.d_model)])).astype(np.int16)

    def layer(original: Layer) -> Layer:
        return replace(
            original, **{name: matrix(getattr(original, name)) for name in MATRICES},
            tap_now=vector(-128, 127), tap_prev=vector(-128, 127), forget_bias=vector(-128, 127),
            glu_tap=draw(st.sampled_from([1, 127, original.glu_tap])))

    return replace(
        base, embedding=trits(base.embedding.shape), layers=tuple(map(layer, base.layers)),
        embed_scale=draw(st.sampled_from([0, 2047, base.embed_scale])),
        head_scale=draw(st.sampled_from([*SCALE_ENDS, base.head_scale])),
        head_tap=draw(st.sampled_from([1, 127, base.head_tap])),
        head_bias=rng.choice([-32768, -1, 0, 32767], config.vocab_size))


def matrix_of(image: Image, shape: OperationShape, first: int) -> NDArray[np.int8]:
    """A matrix, interleaved rows together, read out of the weights word by word."""
    units = next(units for address, units in image.segments if address == Region.WEIGHTS)
    lanes = units.astype("<u2").view(np.uint8).reshape(-1, DEVICE.lanes)
    trits = np.zeros((shape.rows, shape.blocks * DEVICE.lanes * shape.trits), np.int8)
    for row in range(shape.rows):
        found: list[int] = []
        for block in range(shape.blocks):
            for code in lanes[first + block * shape.rows + row].tolist():
                found += FILE_CODE.to_trits[code][:shape.trits]
                assert not any(FILE_CODE.to_trits[code][shape.trits:])
        trits[row] = found
    return trits


@settings(max_examples=25)
@given(model=models())
def test_every_weight_is_where_the_device_looks(model: Model) -> None:
    image = compile_image(model, DEVICE)
    config = model.config
    program = Program.decode(next(
        words.tolist() for address, words in image.segments if address == Region.PROGRAM))
    packing = DEVICE.packing
    shapes = [*config.layer_operations(packing) * config.n_layers, config.head(packing)]
    matrices = [[getattr(layer, name) for name in names] for layer in model.layers
                for names in (MATRICES[:3], MATRICES[3:4], MATRICES[4:6], MATRICES[6:])]
    matrices.append([Matrix(model.embedding, model.head_scale)])
    assert len(program.operations) == len(shapes)
    first = 0
    for number, (shape, stacked) in enumerate(zip(shapes, matrices, strict=True)):
        expected = np.stack([each.trits for each in stacked], axis=1).reshape(shape.rows, -1)
        got = matrix_of(image, shape, first)
        assert (got[:, :shape.columns] == expected).all()
        assert not got[:, shape.columns:].any()
        operation = program.operations[number]
        assert (operation.rows, operation.blocks, operation.short) == (
            shape.rows, shape.blocks, shape.short)
        assert operation.parameters[:len(stacked)] == tuple(each.scale for each in stacked)
        if number == len(shapes) - 1:
            assert program.embed_base == first
        first += shape.words
    assert first == config.weight_words(DEVICE.packing)


@settings(max_examples=40)
@given(model=models(), where=st.floats(0, 1), flip=st.integers(1, 255))
def test_an_image_is_read_back_or_refused(model: Model, where: float, flip: int) -> None:
    image = compile_image(model, DEVICE)
    data = bytearray(image.to_bytes())
    again = Image.from_bytes(bytes(data))
    assert again.to_bytes() == bytes(data)
    assert (again.config, again.model_sha256) == (model.config, model.sha256)
    place = int(where * (len(data) - 1))
    with pytest.raises(ImageError):
        Image.from_bytes(bytes(data[:place]))
    data[place] ^= flip
    with pytest.raises(ImageError):
        Image.from_bytes(bytes(data))


@given(st.builds(ModelConfig, vocab_size=st.integers(1, 300), d_model=st.integers(1, 300),
                 n_layers=st.integers(1, 20), d_hidden=st.integers(1, 300)))
def test_a_model_compiles_exactly_if_it_fits(config: ModelConfig) -> None:
    if config.violations(DEVICE):
        with pytest.raises(ModelDoesNotFitError):
            compile_image(SimpleNamespace(config=config), DEVICE)  # type: ignore[arg-type]  # no more is looked at
    else:
        image = compile_image(Model.random(config, 1), DEVICE)
        units = sum(len(units) for _, units in image.segments)
        assert units > config.weight_words(DEVICE.packing) * 4


@pytest.mark.timeout(900)
@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(model=models(), runs=st.lists(st.booleans(), min_size=1, max_size=2),
       seed=st.integers(0, 2**32 - 1))
def test_the_chip_equals_the_reference(model: Model, runs: list[bool], seed: int) -> None:
    """Every stage of every token of one sequence or two."""
    outcome = SoakOutcome(number=0, config=model.config.to_dict(), corner_case=True)
    session = Session(NativeBench(elaborate(Icebreaker())), DEVICE, model,
                      np.random.default_rng(seed), outcome)
    try:
        for together in runs:
            session.run(together=together, longest=4)
        session.compare_tapes()
    finally:
        session.close()
    assert outcome.values["x"]
    assert outcome.values["act"]


@pytest.mark.timeout(900)
def test_models_of_a_campaign(seed: int) -> None:
    """The first ones of what ``make soak`` runs."""
    hdl = elaborate(Icebreaker())
    outcomes = [run_model(lambda: NativeBench(hdl), DEVICE, seed, number, 60)
                for number in range(2)]
    assert all(outcome.tokens >= 40 for outcome in outcomes)
    assert all(all(outcome.values.values()) for outcome in outcomes)


@pytest.mark.parametrize("board", ["icebreaker", "tang-nano-20k", "ulx3s-85f"])
def test_drawn_sizes_are_legal_and_reach_the_limits(board: str, rng: np.random.Generator) -> None:
    device = board_device(board)
    packing = device.packing
    drawn = [draw_config(rng, device) for _ in range(400)]
    assert not any(config.violations(device) for config in drawn)
    assert min(config.d_model for config in drawn) == device.min_rows
    assert max(config.d_model for config in drawn) > device.max_rows // 4
    assert max(config.weight_words(packing) for config in drawn) > device.weight_words * 3 // 4
    assert {config.head(packing).short for config in drawn} == (
        {False} if device.trits == packing.short_trits else {False, True})


def test_the_float_model_makes_the_same_choice(rng: np.random.Generator) -> None:
    """The integers move a logit by a bounded amount, and no choice that is clearer than that."""
    model = Model.load(default_model_path())
    reference, real = ReferenceModel(model), FloatReference(model)
    text = rng.integers(0, model.config.vocab_size, 16).tolist()
    clear = 0
    for token in text + model.encode("First Citizen: We are accounted poor citizens. "):
        logits = reference.step([token])[0] / (1 << NUMBERS.logit_frac)
        exact = real.step(token)
        assert np.abs(logits - exact).max() < LOGIT_BOUND
        second, best = np.sort(exact)[-2:]
        if best - second > 2 * LOGIT_BOUND:
            clear += 1
            assert logits.argmax() == exact.argmax()
    assert clear, "no choice is clear enough to be compared"
