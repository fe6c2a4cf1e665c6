"""Sizes and number formats: counts against models, limits against arithmetic."""

import dataclasses

import pytest

from trilight.hw.contract.errors import CapacityError
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.shapes import ModelConfig, OperationShape
from trilight.hw.support.boards import board_device
from trilight.sw.model.model import Model

DEVICE = board_device()

CONFIGS = [
    ModelConfig(vocab_size=20, d_model=45, n_layers=2, d_hidden=50),
    ModelConfig(vocab_size=16, d_model=40, n_layers=1, d_hidden=81),
    ModelConfig(vocab_size=65, d_model=160, n_layers=3, d_hidden=229),
]


def test_shifts_follow_from_binary_points() -> None:
    noise_frac = NUMBERS.gumbel_frac + NUMBERS.temperature_frac
    assert noise_frac - NUMBERS.noise_shift == NUMBERS.logit_frac
    assert 2 ** (2 * NUMBERS.gate_frac - NUMBERS.mix_shift) == 32
    assert 2 ** (2 * NUMBERS.gate_frac - NUMBERS.glu_shift) == 16


def test_widths_hold_the_largest_values() -> None:
    assert 2 ** (NUMBERS.residual_bits - 1) <= (NUMBERS.act_max + 1) << NUMBERS.prev_shift + 1


@pytest.mark.parametrize(("rows", "columns", "trits", "blocks"), [
    (480, 160, 5, 4),
    (480, 229, 5, 6),
    (65, 160, 4, 5),  # 5 * 65 cycles are fewer than 4 * 122
    (97, 160, 4, 5),
    (98, 160, 5, 4),  # 5 * 98 are not
    (16, 40, 4, 2),  # 2 * 41 are fewer than 122
    (122, 32, 5, 1),  # as many either way
    (121, 32, 4, 1),
    (16, 256, 4, 8),
])
def test_shape_of_an_operation(rows: int, columns: int, trits: int, blocks: int) -> None:
    shape = OperationShape(rows, columns, DEVICE.packing)
    assert DEVICE.packing.block == 40
    assert (shape.short, shape.trits, shape.blocks) == (trits == 4, trits, blocks)
    assert shape.entries == {4: 41, 5: 122}[trits]
    assert shape.words == rows * blocks


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_weights_are_those_of_the_model(config: ModelConfig, seed: int) -> None:
    model = Model.random(config, seed)
    operations = [[model.embedding]]
    for layer in model.layers:
        operations += [[layer.forget.trits, layer.candidate.trits, layer.gate.trits],
                       [layer.mix_out.trits], [layer.glu_gate.trits, layer.glu_up.trits],
                       [layer.glu_down.trits]]
    sizes = [trits.size for matrices in operations for trits in matrices]
    assert config.ternary_weights == config.ternary_weights_per_token == sum(sizes)
    shapes = [OperationShape(sum(map(len, matrices)), matrices[0].shape[1], DEVICE.packing)
              for matrices in operations]
    assert config.weight_words(DEVICE.packing) == sum(shape.words for shape in shapes)
    assert sorted(shapes, key=str) == sorted(
        [config.head(DEVICE.packing), *config.n_layers * config.layer_operations(DEVICE.packing)],
        key=str)
    # Header, five words for each of mix, mix_out, glu, glu_down and the head, and the bias.
    assert config.program_words == 7 + 5 * (4 * config.n_layers + 1) + config.vocab_size


def test_a_model_that_fits() -> None:
    for config in CONFIGS:
        assert config.violations(DEVICE) == []
        config.check_fits(DEVICE)


@pytest.mark.parametrize(("change", "message"), [
    ({"n_layers": 3, "d_hidden": 241},
     f"weight words: {3 * ((480 + 160 + 482) * 4 + 160 * 7) + 65 * 5:,} needed, 16,384 present"),
    ({"d_model": 180, "n_layers": 1}, "rows, 3 * d_model: 540 needed, 512 present"),
    ({"d_hidden": 260, "n_layers": 1}, "columns, d_hidden: 260 needed, 256 present"),
    ({"d_hidden": 260, "n_layers": 1}, "rows, 2 * d_hidden: 520 needed, 512 present"),
    ({"d_model": 40, "n_layers": 13, "d_hidden": 16},
     "channels, d_model * n_layers: 520 needed, 512 present"),
    ({"vocab_size": 185}, "program words: 257 needed, 256 present"),
    ({"vocab_size": 257}, "tokens, vocab_size: 257 needed, 256 present"),
    ({"vocab_size": 15}, "rows, vocab_size: 15 is fewer than the engine's minimum of 16"),
])
def test_every_broken_limit_is_named(change: dict[str, int], message: str) -> None:
    config = dataclasses.replace(CONFIGS[-1], **change)
    assert message in config.violations(DEVICE)
    with pytest.raises(CapacityError) as caught:
        config.check_fits(DEVICE)
    assert message in str(caught.value)
    assert "up5k" in str(caught.value)


@pytest.mark.parametrize("value", [0, -1, 1.5, "8"])
def test_sizes_are_positive_integers(value: object) -> None:
    sizes = {"vocab_size": 16, "d_model": 16, "n_layers": 1, "d_hidden": value}
    with pytest.raises(ValueError, match=rf"^d_hidden must be a positive integer, not {value!r}$"):
        ModelConfig(**sizes)
