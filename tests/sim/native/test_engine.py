"""The very RTL of the engine, for a table of devices, against NumPy: every row, to the last bit."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from trilight.hw.contract.device import Device, WeightMemory
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.support.boards import board_device
from trilight.sim.native.engine import EmbeddingRow, Figures, NativeEngine, Product

DEVICE = board_device()

# The first compilation of all makes the compiler's own library, which takes minutes.
pytestmark = pytest.mark.timeout(900)

DEVICES = [
    DEVICE,
    Device(name="2 lanes, 1 sequence", lanes=2, sequences=1, max_columns=300, weight_words=1 << 16,
           weight_memory=WeightMemory.EXTERNAL),
    Device(name="4 lanes, 4 sequences", lanes=4, sequences=4, weight_words=1 << 16,
           weight_memory=WeightMemory.BLOCK_RAM),
    Device(name="12 lanes, 1,024 columns", lanes=12, max_columns=1024, weight_words=1 << 16,
           weight_memory=WeightMemory.BLOCK_RAM),
    Device(name="24 lanes of 3 trits, 4,096 tokens", lanes=24, trits=3, max_columns=1024,
           max_rows=4096, max_vocab=4096, program_words=8192, weight_words=1 << 16,
           weight_memory=WeightMemory.BLOCK_RAM),
    Device(name="64 lanes, 6,912 columns, tiles", lanes=64, max_columns=6912, max_rows=1024,
           tile_rows=64, max_vocab=64, weight_words=1 << 16, weight_memory=WeightMemory.EXTERNAL),
]

LAYER = Device(name="layer of 370M weights", max_columns=6912, max_rows=5632, tile_rows=1024,
               weight_words=1 << 19, weight_memory=WeightMemory.EXTERNAL)
LAYER_SHAPES = [(1024, 1024)] * 4 + [(5632, 1024), (1024, 2816)]
"""Rows and columns of the matrices of a layer of a MatMul-free model of 370 million weights."""


@pytest.fixture(scope="module", params=DEVICES, ids=lambda device: device.name)
def engine(request: pytest.FixtureRequest) -> NativeEngine:
    return NativeEngine(request.param)


def trits(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.int8]:
    return rng.integers(-1, 1, (rows, columns), np.int8, endpoint=True)


def acts(rng: np.random.Generator, columns: int) -> NDArray[np.int8]:
    """Any activations, often all at one end of their range."""
    maximum = NUMBERS.act_max
    if rng.random() < 0.3:
        return rng.choice([-maximum, maximum], columns).astype(np.int8)
    return rng.integers(-maximum, maximum, columns, np.int8, endpoint=True)


def shapes(device: Device, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    """Rows and columns at the ends of their ranges, and a few between them."""
    block = device.packing.block
    yield device.min_rows, device.max_columns
    yield min(device.max_rows, device.row_sums + 1), block + 1
    yield device.min_rows, 1
    yield device.max_rows, min(2 * block, device.max_columns)
    for _ in range(3):
        yield (int(rng.integers(device.min_rows, min(device.max_rows, 300) + 1)),
               int(rng.integers(1, device.max_columns + 1)))


def products(device: Device, rng: np.random.Generator) -> list[Product]:
    """Each matrix for some sequences in turn, in long words and in short ones."""
    found = []
    for rows, columns in shapes(device, rng):
        matrix, short = trits(rng, rows, columns), bool(rng.integers(2))
        turns = np.flatnonzero(rng.random(device.sequences) < 0.7)
        found += [Product(matrix, acts(rng, columns), short, int(sequence))
                  for sequence in (turns if len(turns) else [0])]
    return found


def compare(engine: NativeEngine, given: list[Product], rows: list[EmbeddingRow], *,
            pauses: float = 0, seed: int = 0) -> Figures:
    sums, channels, figures = engine.run(given, rows, pauses=pauses, seed=seed)
    for product, found in zip(given, sums, strict=True):
        expected = product.trits.astype(np.int64) @ product.acts.astype(np.int64)
        assert found.tolist() == expected.tolist()
    for row, found in zip(rows, channels, strict=True):
        expected = given[row.product].trits[row.token].astype(np.int64) * row.scale
        assert found.tolist() == expected.tolist()
    return figures


@pytest.mark.parametrize("pauses", [0, 0.1, 0.5])
def test_every_row_and_channel(engine: NativeEngine, pauses: float, seed: int) -> None:
    rng = np.random.default_rng([seed, round(10 * pauses)])
    given = products(engine.device, rng)
    most_scale = (1 << NUMBERS.residual_bits - 1) - 1
    rows = []
    for _ in range(8):
        number = int(rng.choice([k for k, product in enumerate(given)
                                 if len(product.trits) <= engine.device.row_sums]))
        tokens = min(len(given[number].trits), engine.device.max_vocab)
        rows.append(EmbeddingRow(number, int(rng.choice([0, tokens - 1, rng.integers(tokens)])),
                                 int(rng.integers(most_scale, endpoint=True))))
    compare(engine, given, rows, pauses=pauses, seed=seed)


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_widest_sums(engine: NativeEngine, sign: int) -> None:
    device = engine.device
    matrix = np.repeat(np.resize(np.array([-1, 1], np.int8), (device.min_rows, 1)),
                       device.max_columns, axis=1)
    vector = np.full(device.max_columns, sign * NUMBERS.act_max, np.int8)
    sums, _, _ = engine.run([Product(matrix, vector, short) for short in (False, True)])
    maximum = NUMBERS.act_max * device.max_columns
    assert maximum >= 1 << device.acc_bits - 2
    assert {abs(int(total)) for part in sums for total in part} == {maximum}


def test_a_word_a_cycle(engine: NativeEngine, seed: int) -> None:
    """With rows enough to hide fillings behind, only the first one shows, and the pipeline."""
    device, rng = engine.device, np.random.default_rng(seed)
    columns = min(3 * device.packing.block, device.max_columns)
    rows = min(device.max_rows, 512)
    given = [Product(trits(rng, rows, columns), acts(rng, columns), short=False)
             for _ in range(3)]
    figures = compare(engine, given, [])
    words = sum(len(product.trits) * -(-columns // device.packing.block) for product in given)
    assert figures.words == words
    tiles = len(device.tiles(rows))
    hidden = all(tile >= device.packing.code.entries + 10 for tile in device.tiles(rows))
    exposed = columns + device.packing.code.entries + 40
    # An operation's vector is written once the one before has filled, in fewer cycles than it has
    # rows or not.
    later = sum(max(0, columns + 140 - rows // tiles) for _ in given)
    assert figures.words <= figures.cycles
    if hidden:
        assert figures.cycles <= words + exposed + later


def test_a_layer_of_370_million_weights(seed: int) -> None:
    """12.8 million weights, all rows of all products, with a word in practically every cycle."""
    rng = np.random.default_rng(seed)
    given = [Product(trits(rng, rows, columns), acts(rng, columns), short=False)
             for rows, columns in LAYER_SHAPES]
    figures = compare(NativeEngine(LAYER), given, [])
    assert sum(product.trits.size for product in given) == 12_845_056
    assert figures.words == sum(
        rows * -(-columns // LAYER.packing.block) for rows, columns in LAYER_SHAPES)
    assert figures.words / figures.cycles > 0.99
