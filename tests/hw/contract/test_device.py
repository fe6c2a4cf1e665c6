"""Devices: what follows from their sizes, against arithmetic, and what is refused."""

import dataclasses
from typing import Any

import pytest

from trilight.hw.contract.device import Device, WeightMemory
from trilight.hw.contract.errors import CapacityError
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.support.boards import board_device

DEVICE = board_device()


def make(**sizes: Any) -> Device:
    return Device(**{"name": "some", "weight_words": 4096,
                     "weight_memory": WeightMemory.BLOCK_RAM, **sizes})


def test_the_released_chip() -> None:
    packing = DEVICE.packing
    assert (packing.block, packing.word_bits, packing.word_units) == (40, 64, 4)
    assert (DEVICE.acc_bits, DEVICE.norm_bits) == (16, 15)
    assert (DEVICE.token_bits, DEVICE.address_bits) == (8, 14)
    assert (DEVICE.tree_depth, DEVICE.row_latency, DEVICE.min_rows) == (3, 8, 16)


@pytest.mark.parametrize(("columns", "bits"), [
    (1, 8), (256, 16), (258, 16), (259, 17), (1024, 18), (1032, 18), (1033, 19), (6912, 21),
    (8256, 21), (8257, 22)])
def test_sums_have_the_width_that_the_columns_need(columns: int, bits: int) -> None:
    device = make(max_columns=columns)
    maximum = columns * NUMBERS.act_max
    assert device.acc_bits == bits
    assert maximum < 1 << bits - 1 <= 2 * maximum + 1
    assert maximum < 1 << device.norm_bits <= 2 * maximum + 1


@pytest.mark.parametrize(("lanes", "depth"), [
    (2, 1), (3, 2), (4, 2), (8, 3), (12, 4), (16, 4), (17, 5), (24, 5), (64, 6)])
@pytest.mark.parametrize("memory", WeightMemory)
def test_latencies_follow_from_the_lanes(lanes: int, depth: int, memory: WeightMemory) -> None:
    device = make(lanes=lanes, weight_memory=memory)
    assert device.tree_depth == depth
    assert device.row_latency == memory.latency + 3 + depth
    assert device.min_rows == 2 * device.row_latency


@pytest.mark.parametrize(("lanes", "trits", "bits", "units"), [
    (2, 5, 16, 1), (4, 5, 32, 2), (8, 5, 64, 4), (12, 5, 96, 8), (24, 5, 192, 16), (64, 5, 512, 32),
    (8, 3, 40, 4), (12, 3, 60, 4), (64, 3, 320, 32)])
def test_words_are_as_wide_as_their_codes(lanes: int, trits: int, bits: int, units: int) -> None:
    packing = make(lanes=lanes, trits=trits).packing
    assert (packing.block, packing.word_bits, packing.word_units) == (lanes * trits, bits, units)
    assert packing.short_trits == {5: 4, 3: 3}[trits]


@pytest.mark.parametrize("rows", [22, 64, 65, 85, 86, 128, 129, 1000])
def test_tiles_are_neither_too_long_nor_too_short(rows: int) -> None:
    device = make(lanes=64, tile_rows=64, max_rows=1024, max_vocab=64)
    tiles = device.tiles(rows)
    assert device.tiled
    assert sum(tiles) == rows
    assert all(device.min_rows <= tile <= device.row_sums for tile in tiles)
    assert not make(max_rows=1024).tiled
    assert make(max_rows=1024).tiles(rows) == [rows]


@pytest.mark.parametrize(("sizes", "message"), [
    ({"lanes": 1}, "lanes must be 2 to 96, not 1"),
    ({"lanes": 97}, "lanes must be 2 to 96, not 97"),
    ({"trits": 4}, "trits must be 3 or 5, not 4"),
    ({"sequences": 3}, "sequences must be 1, 2, 4 or 8, not 3"),
    ({"weight_memory": WeightMemory.SPRAM, "weight_words": 16385},
     "SPRAM holds 16,384 weight words, not 16,385; use block RAM or an external memory"),
    ({"weight_memory": WeightMemory.SPRAM, "trits": 3},
     "tables of 3 trits lie in LUT RAM, which a chip with SPRAM has none of; use 5 trits"),
    ({"tape_tokens": 200}, "tape_tokens must be a power of two, not 200"),
    *(({"adapt_rows": rows}, f"adapt_rows must be a power of two, at most 8,192, not {rows:,}")
      for rows in (6, 16_384)),
    ({"max_rows": 15, "max_vocab": 15},
     "max_rows must be at least the 16 rows that the pipeline of 8 lanes needs, not 15"),
    # The core that once elaborated with sums, tapes and program memory that were too narrow.
    ({"max_columns": 512, "max_vocab": 4096, "max_rows": 4096, "sequences": 4},
     ("the program memory holds the output bias of each token, so max_vocab must be at most the "
      "program_words of 256, not 4,096")),
    ({"tile_rows": 100},
     ("a token is looked up in a single tile, so max_vocab must be at most the 100 rows of one, "
      "not 256")),
    *(({"adapt_token_rows": rows}, ("adapt_token_rows must be a power of two, at most 256 for a "
                                    f"vocabulary of 256, or 0, not {rows}")) for rows in (6, 512)),
    ({"tile_rows": 31}, "tile_rows must be 32 to the max_rows of 512, or 0, not 31"),
    ({"tile_rows": 513}, "tile_rows must be 32 to the max_rows of 512, or 0, not 513"),
])
def test_what_does_not_fit_together_is_refused(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(CapacityError) as caught:
        make(**sizes)
    assert str(caught.value) == f"some can not be built: {message}"


@pytest.mark.parametrize("value", [0, -1, 2.0, "8", True, None])
@pytest.mark.parametrize("name", ["lanes", "weight_words", "max_columns", "tape_tokens"])
def test_sizes_are_positive_integers(name: str, value: object) -> None:
    with pytest.raises(CapacityError, match=rf"^{name} of some must be a positive integer, not"):
        make(**{name: value})


def test_a_device_is_a_value() -> None:
    assert make() == make() != make(lanes=4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        make().lanes = 4  # type: ignore[misc]  # that it can not be assigned is the claim


@pytest.mark.parametrize("sizes", [
    {}, {"adapt_orders": 1}, {"adapt_orders": 2, "adapt_rows": 8192},
    {"adapt_orders": 1, "adapt_token_rows": 8},
    {"adapt_orders": 2, "adapt_rows": 1, "adapt_token_rows": 256}])
def test_what_a_device_learns_is_a_byte(sizes: dict[str, Any]) -> None:
    device = make(**sizes)
    assert device.adapt_code < 256
    assert make(**Device.adaptation_of(device.adapt_code)).adapt_depths == device.adapt_depths
