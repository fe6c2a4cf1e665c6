"""Zeros as the words of an image have them."""

import numpy as np
import pytest

from trilight.hw.contract.protocol import Region
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.support.boards import board_device
from trilight.sw.model.image import compile_image
from trilight.sw.model.model import Model
from trilight.sw.model.zeros import zero_shares
from trilight.sw.train.export import build_model
from trilight.sw.train.start import model_arrays

DEVICE = board_device()


def sparse(config: ModelConfig, rng: np.random.Generator, zeros: float) -> Model:
    """A random model of which a share of the weights is 0, and a share of whole code words."""
    model = Model.random(config, int(rng.integers(1 << 32)))
    arrays = {name: np.array(value) for name, value in model_arrays(model).items()}
    for name, value in arrays.items():
        if value.dtype == np.int8 and value.ndim == 2:
            arrays[name] = np.where(rng.random(value.shape) < zeros, 0, value).astype(np.int8)
            arrays[name][rng.random(len(value)) < zeros, :40] = 0
    return build_model(config, model.vocab, arrays, {})


@pytest.mark.parametrize("zeros", [0.0, 0.6, 0.9])
@pytest.mark.parametrize(("d_model", "d_hidden"), [(80, 40), (100, 57), (32, 60)])
def test_shares_are_those_of_the_image(
        rng: np.random.Generator, zeros: float, d_model: int, d_hidden: int) -> None:
    """A word of zeros is 0 in the image, and so is a byte of a code of zeros."""
    config = ModelConfig(vocab_size=20, d_model=d_model, n_layers=2, d_hidden=d_hidden)
    model = sparse(config, rng, zeros)
    found = zero_shares(model, DEVICE.packing)
    segments = dict(compile_image(model, DEVICE).segments)
    codes = segments[Region.WEIGHTS].astype("<u2").view(np.uint8).reshape(-1, DEVICE.lanes)
    assert found.words == pytest.approx((codes == 0).all(axis=1).mean(), abs=1e-12)
    used, longest, start = np.count_nonzero(codes), 0, 0
    shapes = [shape for _ in range(2) for shape in config.layer_operations(DEVICE.packing)]
    for shape in [*shapes, config.head(DEVICE.packing)]:
        for _ in range(shape.blocks):
            block = codes[start:start + shape.rows]
            longest += max(np.count_nonzero(lane) for lane in block.T)
            start += shape.rows
    assert start == len(codes)
    assert found.lanes == pytest.approx(1 - longest / len(codes), abs=1e-12)
    present = sum(shape.rows * -(-shape.columns // shape.trits)
                  for shape in [*shapes, config.head(DEVICE.packing)])
    assert found.codes == pytest.approx(1 - used / present, abs=1e-12)
    assert found.words <= found.lanes <= 1 - used / codes.size
