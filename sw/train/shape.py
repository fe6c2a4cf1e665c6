"""The shape of a model that suits a board. Needs no PyTorch."""

from trilight.hw.contract.device import Device
from trilight.hw.contract.errors import CapacityError
from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.errors import ModelDoesNotFitError

__all__ = ["choose_config", "memory_fill"]

_LAYERS = range(2, 6)
_WIDTH_STEP = 8
"""Widths that are tried; trits of a lane, five or four, need not divide them."""


def memory_fill(config: ModelConfig, device: Device) -> float:
    """Return the share of a device's weight memory that weights take, padding left out."""
    return config.ternary_weights / (device.weight_words * device.packing.block)


def choose_config(vocab_size: int, device: Device, *, d_model: int | None = None,
                  layers: int | None = None, hidden: int | None = None) -> ModelConfig:
    """Return the shape with most weights that fits a device.

    Parameters
    ----------
    vocab_size
        Distinct characters.
    device
        What must hold the model.
    d_model, layers, hidden
        As in ``ModelConfig``; ``None`` leaves the choice.

    Raises
    ------
    ModelDoesNotFitError
        No such shape fits.
    """
    widths = ([d_model] if d_model else
              range(_WIDTH_STEP, device.max_columns + 1, _WIDTH_STEP))
    depths = [layers] if layers else _LAYERS
    units = [hidden] if hidden else range(device.max_columns, device.min_rows - 1, -1)
    best: ModelConfig | None = None
    for depth in depths:
        for width in widths:
            shapes = (ModelConfig(vocab_size=vocab_size, d_model=width, n_layers=depth,
                                  d_hidden=unit) for unit in units)
            fits = next((shape for shape in shapes if not shape.violations(device)), None)
            if fits and (best is None or fits.ternary_weights > best.ternary_weights):
                best = fits
    if best is None:
        # The message is about the smallest of the shapes that were asked for.
        smallest = ModelConfig(
            vocab_size=vocab_size, d_model=d_model or device.min_rows,
            n_layers=layers or _LAYERS[0], d_hidden=hidden or device.min_rows)
        try:
            smallest.check_fits(device)
        except CapacityError as error:
            raise ModelDoesNotFitError(
                f"{error}\nTry a smaller --d-model, --layers or --hidden, or a corpus with fewer "
                "distinct characters") from error
    assert best is not None
    return best
