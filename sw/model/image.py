"""Model images: a model as the words that a device keeps in its memories.

``docs/protocol.md`` explains program and image; ``hw/contract/protocol.py`` defines them.
"""

import struct
import zlib
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.device import UP5K, Device
from trilight.hw.contract.errors import CapacityError
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.protocol import (
    IMAGE_HEADER,
    IMAGE_MAGIC,
    IMAGE_SEGMENT,
    IMAGE_VERSION,
    OP_AFTER_SHORT,
    OP_BLOCKS,
    OP_SHORT,
    PROGRAM_HEADER_WORDS,
    PROGRAM_OP_WORDS,
    Op,
    ProgramHeader,
    Space,
)
from trilight.hw.contract.shapes import ModelConfig, OperationShape
from trilight.sw.errors import ImageError, ModelDoesNotFitError
from trilight.sw.reference.tables import GUMBEL, SIGMOID, SILU

from .model import Layer, Matrix, Model
from .pack import pack_matrix

__all__ = ["Image", "Segment", "compile_image"]

Segment = tuple[int, NDArray[np.uint16]]
"""Address of the first unit, and the units."""

_SPACE_UNITS = {
    Space.WEIGHTS: Space.PROGRAM - Space.WEIGHTS,
    Space.PROGRAM: 256,
    Space.TAPS: 512,
    Space.FORGET_BIAS: 512,
    Space.ACTIVATION: 256,
    Space.GUMBEL: 256,
}
_PROGRAM_UNITS = _SPACE_UNITS[Space.PROGRAM]
_CRC = struct.Struct("<I")


@dataclass(frozen=True, eq=False, kw_only=True)
class Image:
    """Model image: what loading a model writes into a device.

    Attributes
    ----------
    config : ModelConfig
    model_sha256 : str
        ``Model.sha256`` of the model.
    segments : list of (int, uint16 array)
        Address and contents of each run of 16-bit units.

    Raises
    ------
    ImageError
        If a segment is empty, crosses the end of an address space or overlaps another.
    """

    config: ModelConfig
    model_sha256: str
    segments: list[Segment]

    def __post_init__(self) -> None:
        _check_segments(self.segments)

    @property
    def units(self) -> int:
        """16-bit units in all segments."""
        return sum(len(units) for _, units in self.segments)

    def to_bytes(self) -> bytes:
        """The image as a file holds it, CRC included."""
        config = self.config
        parts = [IMAGE_HEADER.pack(
            IMAGE_MAGIC, IMAGE_VERSION, len(self.segments), config.vocab_size, config.d_model,
            config.n_layers, config.d_hidden, bytes.fromhex(self.model_sha256))]
        for address, units in self.segments:
            parts += [IMAGE_SEGMENT.pack(address, len(units)), units.astype("<u2").tobytes()]
        body = b"".join(parts)
        return body + _CRC.pack(zlib.crc32(body))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Inverse of ``to_bytes``.

        Raises
        ------
        ImageError
            If the bytes are no image, one of another version, damaged, or address what does not
            exist.
        """
        if data[:len(IMAGE_MAGIC)] != IMAGE_MAGIC:
            raise ImageError(f"an image must begin with {IMAGE_MAGIC!r}, "
                             f"not {data[:len(IMAGE_MAGIC)]!r}; compile one from a model file")
        if len(data) < IMAGE_HEADER.size + _CRC.size:
            raise ImageError(f"an image must have at least {IMAGE_HEADER.size + _CRC.size} bytes, "
                             f"not {len(data)}; it is cut off, compile it again")
        _, version, count, *sizes, digest = IMAGE_HEADER.unpack_from(data)
        if version != IMAGE_VERSION:
            raise ImageError(f"image version must be {IMAGE_VERSION}, not {version}; compile the "
                             "image again with this release")
        body = data[:-_CRC.size]
        (stated,) = _CRC.unpack(data[-_CRC.size:])
        if (crc := zlib.crc32(body)) != stated:
            raise ImageError(f"an image's CRC-32 must match its bytes, {crc:#010x}, "
                             f"not {stated:#010x}; it is damaged, compile it again")
        names = [field.name for field in fields(ModelConfig)]
        try:
            config = ModelConfig(**dict(zip(names, sizes, strict=True)))
        except ValueError as error:
            raise ImageError(f"image header: {error}") from error
        return cls(config=config, model_sha256=digest.hex(),
                   segments=_read_segments(body, count))


def compile_image(model: Model, device: Device = UP5K) -> Image:
    """The image of a model.

    Parameters
    ----------
    model : Model
    device : Device
        The device it is meant for; the image is the same for every device of the same packing and
        tiles that holds the model.

    Raises
    ------
    ModelDoesNotFitError
        If the model is larger than the device; the text lists every limit it breaks.
    """
    try:
        model.config.check_fits(device)
    except CapacityError as error:
        raise ModelDoesNotFitError(str(error)) from error
    operations = _operations(model, device)
    weights = np.concatenate([operation.units() for operation in operations])
    layers = model.layers
    taps = [_field(layer.tap_now, 8) | _field(layer.tap_prev, 8) << 8 for layer in layers]
    forget_bias = [_field(layer.forget_bias, NUMBERS.index_bits) for layer in layers]
    half = 1 << NUMBERS.index_bits - 1  # the other half follows from this one
    activation = [_field(SIGMOID[half:], NUMBERS.forget_bits),
                  _field(SILU[half:], NUMBERS.gate_bits)]
    return Image(config=model.config, model_sha256=model.sha256, segments=[
        (Space.WEIGHTS, weights),
        (Space.PROGRAM, _program(model, operations)),
        (Space.TAPS, np.concatenate(taps)),
        (Space.FORGET_BIAS, np.concatenate(forget_bias)),
        (Space.ACTIVATION, np.concatenate(activation)),
        (Space.GUMBEL, _field(GUMBEL, NUMBERS.gumbel_bits)),
    ])


@dataclass(frozen=True)
class _Operation:
    """One pass of the engine: matrices of equal shape whose rows take turns."""

    device: Device
    kind: Op
    matrices: tuple[Matrix, ...]
    norm_tap: int = 0
    """Tap of the norm that takes the result; 0 without one."""

    @property
    def shape(self) -> OperationShape:
        rows, columns = self.matrices[0].trits.shape
        return OperationShape(len(self.matrices) * rows, columns, self.device.packing)

    def units(self) -> NDArray[np.uint16]:
        """Weight units, in the engine's order."""
        shape = self.shape
        trits = np.stack([matrix.trits for matrix in self.matrices], axis=1)
        return pack_matrix(trits.reshape(shape.rows, shape.columns), shape,
                           self.device.tiles(shape.rows))

    def program_words(self, after: OperationShape) -> list[int]:
        """The operation's words; ``after`` is what takes its results."""
        scales = [matrix.scale for matrix in self.matrices]
        if self.norm_tap:
            scales.append(self.norm_tap)
        words = [self.kind | self.shape.blocks - 1 << OP_BLOCKS | _flags(self.shape, after),
                 self.shape.rows - 1, *scales]
        return words + [0] * (PROGRAM_OP_WORDS - len(words))


def _flags(shape: OperationShape, after: OperationShape) -> int:
    return OP_SHORT * shape.short | OP_AFTER_SHORT * after.short


def _operations(model: Model, device: Device) -> list[_Operation]:
    def layer_operations(layer: Layer, last: bool) -> list[_Operation]:
        down = (layer.glu_down,)
        return [
            _Operation(device, Op.MIX, (layer.forget, layer.candidate, layer.gate)),
            _Operation(device, Op.RESIDUAL, (layer.mix_out,), layer.glu_tap),
            _Operation(device, Op.GLU, (layer.glu_gate, layer.glu_up)),
            _Operation(device, Op.RESIDUAL, down, model.head_tap) if last
            else _Operation(device, Op.RESIDUAL_SHIFT, down),
        ]

    operations = [operation for layer in model.layers
                  for operation in layer_operations(layer, layer is model.layers[-1])]
    return [*operations,
            _Operation(device, Op.HEAD, (Matrix(model.embedding, model.head_scale),))]


def _program(model: Model, operations: list[_Operation]) -> NDArray[np.uint16]:
    """The program space from its first unit: header, operations, unused units, output bias."""
    d, tokens = model.config.d_model, model.config.vocab_size
    header = {
        ProgramHeader.CHANNELS: d - 1,
        ProgramHeader.EMBED_SCALE: model.embed_scale,
        ProgramHeader.EMBED_BASE: sum(op.shape.words for op in operations[:-1]),
        ProgramHeader.EMBED_STRIDE: tokens,
        ProgramHeader.EMBED_FLAGS: _flags(operations[-1].shape, operations[0].shape),
        ProgramHeader.OPS: len(operations) - 1,
    }
    words = [header[ProgramHeader(index)] for index in range(PROGRAM_HEADER_WORDS)]
    # A head's results go to no operation, but to the sampler.
    for operation, after in pairwise([*operations, operations[-1]]):
        words += operation.program_words(after.shape)
    program = np.zeros(_PROGRAM_UNITS, np.uint16)
    program[:len(words)] = words
    program[_PROGRAM_UNITS - tokens:] = _field(model.head_bias, NUMBERS.logit_bits)[::-1]
    return program


def _field(values: NDArray[Any], bits: int) -> NDArray[np.uint16]:
    """Two's complement in the low ``bits`` of each unit, zeros above."""
    return (values & (1 << bits) - 1).astype(np.uint16)


def _check_segments(segments: list[Segment]) -> None:
    """Each segment lies within one space, and no two overlap."""
    for address, units in segments:
        end = address + len(units)
        if not len(units):
            raise ImageError(f"a segment must have units, not none at {address:#07x}")
        space = max((start for start in _SPACE_UNITS if start <= address), default=Space.WEIGHTS)
        limit = space + _SPACE_UNITS[space]
        if end > limit:
            raise ImageError(f"a segment of the {space.name} space must end by {limit:#07x}, "
                             f"not lie at {address:#07x} ... {end - 1:#07x}")
    ordered = sorted((address, len(units)) for address, units in segments)
    for (address, count), (following, _) in pairwise(ordered):
        if address + count > following:
            raise ImageError(f"segments must not overlap, as those at {address:#07x} "
                             f"and {following:#07x} do")


def _read_segments(body: bytes, count: int) -> list[Segment]:
    segments: list[Segment] = []
    position = IMAGE_HEADER.size
    for number in range(count):
        if len(body) - position < IMAGE_SEGMENT.size:
            raise ImageError(f"an image must hold {count} segments, not {number}")
        address, length = IMAGE_SEGMENT.unpack_from(body, position)
        position += IMAGE_SEGMENT.size
        if 2 * length > len(body) - position:
            raise ImageError(f"segment {number} must fit the {len(body) - position} bytes left, "
                             f"not have {length} units")
        units = np.frombuffer(body, "<u2", length, position).astype(np.uint16)
        position += 2 * length
        segments.append((address, units))
    if position != len(body):
        raise ImageError(f"an image must end after its {count} segments, "
                         f"not {len(body) - position} bytes later")
    return segments
