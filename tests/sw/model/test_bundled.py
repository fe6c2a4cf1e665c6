"""Bundled models: which one a device gets."""

import pytest

from trilight.hw.contract.device import Device
from trilight.hw.support.boards import board_device, board_names
from trilight.sw.cli.generate import default_model_of
from trilight.sw.model.bundled import bundled_model, bundled_models, default_model_path
from trilight.sw.model.model import Model


@pytest.mark.parametrize("name", board_names())
def test_a_board_gets_the_largest_model_that_fits(name: str) -> None:
    path, device = bundled_model(board_device(name)), board_device(name)
    assert path is not None
    weights = Model.load(path).config.ternary_weights
    for other in bundled_models():
        config = Model.load(other).config
        assert config.ternary_weights <= weights or config.violations(device)
    assert default_model_of(f"rtl:{name}") == path


def test_the_default_board_gets_the_default_model() -> None:
    assert bundled_model(board_device()) == default_model_path() == default_model_of("reference")


def test_a_device_that_holds_none() -> None:
    assert bundled_model(Device(name="small", weight_words=256)) is None
