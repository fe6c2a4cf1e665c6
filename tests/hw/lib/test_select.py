# amaranth: UnusedElaboratable=no
"""Arrays of signals that a number selects, of one bit or of none."""

import pytest
from amaranth.hdl import Signal

from trilight.hw.lib.select import numbered


@pytest.mark.parametrize("count", [1, 2, 4])
def test_every_signal_once(count: int) -> None:
    signals = [Signal(name=f"signal_{k}") for k in range(count)]
    assert [one is other for one, other in zip(numbered(signals), signals, strict=True)] == (
        [True] * count)


def test_the_only_one_needs_no_number() -> None:
    only = Signal()
    assert numbered([only])[Signal(0)] is only
