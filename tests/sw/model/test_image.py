"""Model images: a reader of its own rebuilds the model from them, and damage is found."""

import base64
import dataclasses
import lzma
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from trilight.hw.contract.device import WeightMemory
from trilight.hw.contract.program import Op
from trilight.hw.contract.protocol import IMAGE_HEADER, REGION_WORDS, Region
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.contract.trits import FILE_CODE
from trilight.hw.support.boards import board_device
from trilight.sw.errors import ImageError, ModelDoesNotFitError
from trilight.sw.model.image import Image, compile_image
from trilight.sw.model.model import MATRICES, Layer, Matrix, Model
from trilight.sw.reference.tables import GUMBEL, SIGMOID, SILU

DEVICE = board_device()

CONFIGS = [
    ModelConfig(vocab_size=20, d_model=45, n_layers=2, d_hidden=81),
    ModelConfig(vocab_size=65, d_model=160, n_layers=3, d_hidden=229),
    ModelConfig(vocab_size=16, d_model=16, n_layers=1, d_hidden=16),
    ModelConfig(vocab_size=130, d_model=130, n_layers=1, d_hidden=128),
]

ROWS_OF = {
    Op.MIX: ("forget", "candidate", "gate"),
    Op.GLU: ("glu_gate", "glu_up"),
    Op.HEAD: ("head",),
}


def signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 else value


class Device:
    """Memories filled from segments, read as ``docs/protocol.md`` says a device does."""

    def __init__(self, segments: list[tuple[int, np.ndarray]]) -> None:
        self.units: dict[int, int] = {}
        for address, units in segments:
            for offset, unit in enumerate(units.tolist()):
                assert address + offset not in self.units
                self.units[address + offset] = unit

    def program(self, index: int) -> int:
        return self.units[Region.PROGRAM + index]

    def word_trits(self, word: int, short: bool) -> list[int]:
        """The 40 trits of a weight word, or the 32 of a short one."""
        value = sum(self.units[4 * word + k] << 16 * k for k in range(4))
        lanes = [FILE_CODE.to_trits[value >> 8 * lane & 0xFF] for lane in range(8)]
        if short:
            assert not any(lane[4] for lane in lanes)
        return [t for lane in lanes for t in lane[:4 if short else 5]]

    def rows(self, start: int, rows: int, blocks: int, short: bool) -> list[list[int]]:
        return [[t for block in range(blocks)
                 for t in self.word_trits(start + block * rows + row, short)]
                for row in range(rows)]


def is_short(rows: int, columns: int) -> bool:
    """A table of 122 sums takes 122 cycles to fill, one of 41 as many as that."""
    return -(-columns // 32) * max(rows, 41) < -(-columns // 40) * max(rows, 122)


def rebuild(image: Image) -> Model:
    """The model that an image holds, checking the program on the way."""
    device, config = Device(image.segments), image.config
    d, n, layers = config.d_model, config.vocab_size, config.n_layers
    channels, embed_scale, embed_base, stride, embed_flags, last_op, base_high = map(
        device.program, range(7))
    assert (channels, stride, last_op, base_high) == (d - 1, n, 4 * layers, 0)

    kinds, matrices, taps, start = [], [], [], 0
    after_short = embed_flags >> 4 == 1
    for number in range(last_op + 1):
        first, last_row, *scales = (device.program(7 + 5 * number + k) for k in range(5))
        kind, blocks, rows = Op(first & 7), (first >> 5) + 1, last_row + 1
        residual = "mix_out" if number % 4 == 1 else "glu_down"
        names = ROWS_OF.get(kind, (residual,))
        columns = config.d_hidden if names == ("glu_down",) else d
        short = first >> 3 & 1 == 1
        assert short == is_short(rows, columns) == after_short
        after_short = first >> 4 & 1 == 1
        if kind is Op.HEAD:
            assert start == embed_base
            assert short == embed_flags >> 3 & 1
            for token in (0, n - 1):
                row = [t for b in range(blocks)
                       for t in device.word_trits(embed_base + b * stride + token, short)]
                assert row == device.rows(start, rows, blocks, short)[token]
        trits = np.array(device.rows(start, rows, blocks, short), np.int8)
        assert blocks == -(-columns // (32 if short else 40))
        assert not trits[:, columns:].any()
        unused = scales[len(names):]
        if kind is Op.RESIDUAL:
            taps.append(unused.pop(0))
        assert not any(unused)
        kinds.append(kind)
        matrices.append({name: Matrix(trits[k::len(names), :columns], scales[k])
                         for k, name in enumerate(names)})
        start += rows * blocks
    per_layer = [Op.MIX, Op.RESIDUAL, Op.GLU, Op.RESIDUAL_SHIFT]
    assert kinds == [*per_layer * (layers - 1), *per_layer[:3], Op.RESIDUAL, Op.HEAD]
    assert start == config.weight_words(DEVICE.packing)
    assert 7 + 5 * (last_op + 1) + n == config.program_words <= DEVICE.program_words

    def layer(number: int) -> Layer:
        named = {name: matrix for part in matrices[4 * number:4 * number + 4]
                 for name, matrix in part.items()}
        assert sorted(named) == sorted(MATRICES)
        index = range(number * d, (number + 1) * d)
        shift = [device.units[Region.TAPS + i] for i in index]
        bias = [device.units[Region.FORGET_BIAS + i] for i in index]
        return Layer(**named, tap_now=np.array([signed(tap & 0xFF, 8) for tap in shift]),
                     tap_prev=np.array([signed(tap >> 8, 8) for tap in shift]),
                     forget_bias=np.array([signed(unit, 8) for unit in bias]),
                     glu_tap=taps[number])

    head = matrices[-1]["head"]
    return Model(
        config=config, vocab=Model.random(config, 0).vocab, embedding=head.trits,
        embed_scale=embed_scale, head_scale=head.scale, head_tap=taps[-1],
        head_bias=np.array([signed(device.units[Region.HEAD_BIAS + t], 16) for t in range(n)]),
        layers=tuple(layer(number) for number in range(layers)), provenance={})


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_the_image_holds_the_model(config: ModelConfig, seed: int) -> None:
    model = Model.random(config, seed)
    image = compile_image(model, DEVICE)
    assert image.config == config
    assert rebuild(image).sha256 == image.model_sha256 == model.sha256


def test_negative_parameters_stay_in_their_fields(seed: int) -> None:
    base = Model.random(CONFIGS[0], seed)
    d = base.config.d_model
    layers = tuple(dataclasses.replace(layer, tap_now=np.full(d, -128), tap_prev=np.full(d, -1),
                                       forget_bias=np.full(d, -2)) for layer in base.layers)
    model = dataclasses.replace(base, layers=layers, head_bias=np.full(20, -32768))
    device = Device(compile_image(model, DEVICE).segments)
    assert device.units[Region.TAPS] == 0xFF80
    assert device.units[Region.FORGET_BIAS] == 0xFE
    assert device.units[Region.HEAD_BIAS] == 0x8000


def test_tables_are_in_the_image(seed: int) -> None:
    device = Device(compile_image(Model.random(CONFIGS[0], seed), DEVICE).segments)
    activation = [device.units[Region.ACTIVATION + i] for i in range(256)]
    assert activation[:128] == SIGMOID[128:].tolist()
    assert max(activation) < 4096
    assert [signed(unit, 12) for unit in activation[128:]] == SILU[128:].tolist()
    gumbel = [device.units[Region.GUMBEL + i] for i in range(256)]
    assert max(gumbel) < 4096
    assert [signed(unit, 12) for unit in gumbel] == GUMBEL.tolist()
    assert not [address for address in device.units if address >= Region.TAPE]


@pytest.fixture(scope="module")
def image(seed: int) -> Image:
    return compile_image(Model.random(CONFIGS[2], seed), DEVICE)


def parts(image: Image) -> list[object]:
    return [image.config, image.model_sha256,
            [(address, units.tolist()) for address, units in image.segments]]


def test_bytes_round_trip(image: Image) -> None:
    data = image.to_bytes()
    again = Image.from_bytes(data)
    assert parts(again) == parts(image)
    assert again.to_bytes() == data
    assert {units.dtype for _, units in again.segments} == {np.dtype(np.uint16)}
    assert image.units == sum(len(units) for _, units in image.segments)
    assert len(data) == IMAGE_HEADER.size + 8 * len(image.segments) + 2 * image.units + 4


def with_crc(body: bytes) -> bytes:
    return body + struct.pack("<I", zlib.crc32(body))


def encoded(*segments: tuple[int, int], count: int | None = None, sizes: tuple[int, ...] = (
        16, 16, 1, 16), version: int = 3) -> bytes:
    """An image with zeros in segments of the given addresses and lengths."""
    body = struct.pack("<8sHHIIII32s", b"TRILIMG\0", version,
                       len(segments) if count is None else count, *sizes, bytes(32))
    return with_crc(body + b"".join(
        struct.pack("<II", address, length) + bytes(2 * length) for address, length in segments))


def test_smallest_and_fullest_segments_are_legal() -> None:
    whole = [(0, 0x10000), *((region, REGION_WORDS) for region in Region if region)]
    assert Image.from_bytes(encoded(*whole)).units == 0x10000 + (len(Region) - 1) * REGION_WORDS
    assert Image.from_bytes(encoded()).segments == []
    assert Image.from_bytes(encoded((8, 8), (0, 8))).units == 16


@pytest.mark.parametrize(("data", "message"), [
    (b"", "an image must begin with b'TRILIMG\\x00', not b''"),
    (b"\x7fELF" * 40, "an image must begin with b'TRILIMG\\x00', not b'\\x7fELF\\x7fELF'"),
    (b"TRILIMG\0\3" + bytes(54), "an image must have at least 64 bytes, not 63; it is cut off"),
    (b"TRILIMG\0\2" + bytes(46), "an image must have at least 56 bytes, not 55; it is cut off"),
    (encoded(version=1), "image version must be 3, or 2, not 1; compile the image again"),
    (encoded((0, 4))[:-1], "an image's CRC-32 must match its bytes, "),
    (encoded(sizes=(16, 0, 1, 16)), "image header: d_model must be a positive integer, not 0"),
    (encoded((0, 4), count=2), "an image must hold 2 segments, not 1"),
    (encoded((0, 4), count=0), "an image must end after its 0 segments, not 16 bytes later"),
    (with_crc(encoded((0, 4))[:-6]), "segment 0 must fit the 6 bytes left, not have 4 units"),
    (encoded((0, 0)), "a segment must have units, not none at 0x00000000"),
    (encoded((0x7FFFFFFF, 2)),
     "a segment of the WEIGHTS region must end by 0x80000000, not lie at 0x7fffffff ... 0x80000000"
     ),
    (encoded((0x80080000, 0x80001)),
     "a segment of the PROGRAM region must end by 0x80100000, not lie at 0x80080000 ... 0x80100000"
     ),
    (encoded((0x807FFFFF, 2)),
     "a segment of the WEIGHT_CRC region must end by 0x80800000, not lie at 0x807fffff"),
    (encoded((0x80800000, 1)), "a segment must lie in a region, not at 0x80800000"),
    (encoded((0xFFFFFFFF, 1)), "a segment must lie in a region, not at 0xffffffff"),
    (encoded((0, 8), (7, 1)),
     "segments must not overlap, as those at 0x00000000 and 0x00000007 do"),
    (encoded((4, 4), (4, 4)),
     "segments must not overlap, as those at 0x00000004 and 0x00000004 do"),
])
def test_illegal_image(data: bytes, message: str) -> None:
    with pytest.raises(ImageError) as caught:
        Image.from_bytes(data)
    assert str(caught.value).startswith(message)


def test_every_flipped_bit_is_found(image: Image, rng: np.random.Generator) -> None:
    data = image.to_bytes()
    for position in [*range(8 * 64), *rng.integers(0, 8 * len(data), 300).tolist()]:
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(ImageError):
            Image.from_bytes(bytes(damaged))


def test_every_truncation_is_found(image: Image, rng: np.random.Generator) -> None:
    data = image.to_bytes()
    for length in [*range(100), *rng.integers(0, len(data), 100).tolist(), len(data) - 1]:
        with pytest.raises(ImageError):
            Image.from_bytes(data[:length])


@hypothesis_settings(max_examples=200)
@given(data=st.data())
def test_only_own_errors_escape(image: Image, data: st.DataObject) -> None:
    whole = image.to_bytes()[:-4]
    at = data.draw(st.integers(0, 120) | st.integers(0, len(whole)))
    gone = data.draw(st.integers(0, 12))
    spliced = whole[:at] + data.draw(st.binary(max_size=12)) + whole[at + gone:]
    try:
        fuzzed = Image.from_bytes(with_crc(spliced))
    except ImageError:
        return
    assert fuzzed.to_bytes() == with_crc(spliced)


def test_a_model_too_large_is_refused_with_numbers(seed: int) -> None:
    model = Model.random(ModelConfig(vocab_size=65, d_model=160, n_layers=3, d_hidden=241), seed)
    # Rows times words to a row; those of the head are short.
    words = 3 * ((480 + 160 + 482) * 4 + 160 * 7) + 65 * 5
    with pytest.raises(ModelDoesNotFitError, match=f"weight words: {words:,} needed, 16,384 pres"):
        compile_image(model, DEVICE)
    larger = dataclasses.replace(DEVICE, name="larger", weight_words=1 << 14 | 1 << 10,
                                 weight_memory=WeightMemory.BLOCK_RAM)
    assert len(compile_image(model, larger).segments[0][1]) == 4 * words


def old_image() -> bytes:
    """An image that a release of version 2 has compiled, of the model below."""
    text = (Path(__file__).parent / "image-v2.b85").read_text("ascii")
    return lzma.decompress(base64.b85decode(text.replace("\n", "")))


OLD_MODEL = Model.random(ModelConfig(vocab_size=17, d_model=21, n_layers=2, d_hidden=19), 5)


def test_image_of_version_2_is_converted() -> None:
    converted = Image.from_bytes(old_image())
    assert converted.converted
    assert parts(converted) == parts(compile_image(OLD_MODEL, DEVICE))
    again = Image.from_bytes(converted.to_bytes())
    assert not again.converted
    assert parts(again) == parts(converted)


def test_damaged_image_of_version_2_is_refused(rng: np.random.Generator) -> None:
    data = old_image()
    for place in rng.integers(len(data), size=50).tolist():
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(8))
        with pytest.raises(ImageError):
            Image.from_bytes(bytes(damaged))
    # With a right CRC, a word of the program or an address makes it none.
    place = data.index((0x10000).to_bytes(4, "little"))
    for offset, value, message in ((1, 0xFF, "has nothing at"), (18, 0xFF, "more than its 256"),
                                   (20, 0x0F, "is none: ")):
        damaged = bytearray(data[:-4])
        damaged[place + offset] = value
        with pytest.raises(ImageError, match=message):
            Image.from_bytes(with_crc(bytes(damaged)))
