"""Model images: a model as the words that a device keeps in its memories.

``docs/protocol.md`` explains program and image; ``hw/contract/protocol.py`` defines them.
"""

import struct
import zlib
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.device import Device
from trilight.hw.contract.errors import CapacityError
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.program import Op, Operation, Program, operation_kinds
from trilight.hw.contract.protocol import (
    IMAGE_HEADER,
    IMAGE_MAGIC,
    IMAGE_SEGMENT,
    IMAGE_VERSION,
    REGION_WORDS,
    Region,
)
from trilight.hw.contract.shapes import ModelConfig, OperationShape
from trilight.sw.errors import ImageError, ModelDoesNotFitError
from trilight.sw.reference.tables import SIGMOID, SILU, gumbel_table

from . import old_image
from .model import Matrix, Model
from .pack import pack_matrix

__all__ = ["Image", "Segment", "compile_image", "read_image"]

Segment = tuple[int, NDArray[np.uint16]]
"""Address of the first unit, and the units."""

_CRC = struct.Struct("<I")


@dataclass(frozen=True, eq=False, kw_only=True)
class Image:
    """Model image: what loading a model writes into a device.

    Raises
    ------
    ImageError
        If a segment is empty, crosses the end of an address space or overlaps another.
    """

    config: ModelConfig
    model_sha256: str
    """``Model.sha256`` of the model."""
    segments: list[Segment]
    """Address and contents of each run of 16-bit units."""
    converted: bool = False
    """True if it was read from a file of an earlier version, and is one of this version now."""

    def __post_init__(self) -> None:
        _check_segments(self.segments)

    @property
    def units(self) -> int:
        """16-bit words in all segments."""
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
        """Read an image; one of version 2 is converted.

        Raises
        ------
        ImageError
            If the bytes are no image, one of another version, damaged, or address what does not
            exist.
        """
        if data[:len(IMAGE_MAGIC)] != IMAGE_MAGIC:
            raise ImageError(f"an image must begin with {IMAGE_MAGIC!r}, "
                             f"not {data[:len(IMAGE_MAGIC)]!r}; compile one from a model file")
        version = int.from_bytes(data[len(IMAGE_MAGIC):len(IMAGE_MAGIC) + 2], "little")
        header = {IMAGE_VERSION: IMAGE_HEADER, old_image.VERSION: old_image.HEADER}.get(version)
        if header is None:
            raise ImageError(f"image version must be {IMAGE_VERSION}, or {old_image.VERSION}, not "
                             f"{version}; compile the image again with this release")
        if len(data) < header.size + _CRC.size:
            raise ImageError(f"an image must have at least {header.size + _CRC.size} bytes, "
                             f"not {len(data)}; it is cut off, compile it again")
        _, _, count, *sizes, digest = header.unpack_from(data)
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
        segments = _read_segments(body, header.size, count)
        converted = version != IMAGE_VERSION
        return cls(config=config, model_sha256=digest.hex(), converted=converted,
                   segments=old_image.convert(segments) if converted else segments)


def read_image(path: Path) -> Image | None:
    """Return the image in a file; ``None`` if the file is none, or cannot be read.

    Raises
    ------
    ImageError
        It is damaged, or of a version that is not known.
    """
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return Image.from_bytes(data) if data.startswith(IMAGE_MAGIC) else None


def compile_image(model: Model, device: Device) -> Image:
    """The image of a model.

    Parameters
    ----------
    device
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
    matrices = _matrices(model)
    program = _program(model, matrices, device)
    weights = np.concatenate([
        _weight_words(those, device) for those in matrices])
    layers = model.layers
    taps = [_field(layer.tap_now, 8) | _field(layer.tap_prev, 8) << 8 for layer in layers]
    forget_bias = [_field(layer.forget_bias, NUMBERS.index_bits) for layer in layers]
    half = 1 << NUMBERS.index_bits - 1  # the other half follows from this one
    activation = [_field(SIGMOID[half:], NUMBERS.forget_bits),
                  _field(SILU[half:], NUMBERS.gate_bits)]
    return Image(config=model.config, model_sha256=model.sha256, segments=[
        (Region.WEIGHTS, weights),
        (Region.PROGRAM, np.array(program.encode(), np.uint16)),
        (Region.HEAD_BIAS, _field(model.head_bias, NUMBERS.logit_bits)),
        (Region.TAPS, np.concatenate(taps)),
        (Region.FORGET_BIAS, np.concatenate(forget_bias)),
        (Region.ACTIVATION, np.concatenate(activation)),
        (Region.GUMBEL, _field(gumbel_table(device.noise), device.noise.value_bits)),
    ])


def _matrices(model: Model) -> list[tuple[Matrix, ...]]:
    """Matrices of each operation, those whose rows take turns together."""
    return [
        *(matrices for layer in model.layers for matrices in (
            (layer.forget, layer.candidate, layer.gate), (layer.mix_out,),
            (layer.glu_gate, layer.glu_up), (layer.glu_down,))),
        (Matrix(model.embedding, model.head_scale),),
    ]


def _shape(matrices: tuple[Matrix, ...], device: Device) -> OperationShape:
    rows, columns = matrices[0].trits.shape
    return OperationShape(len(matrices) * rows, columns, device.packing)


def _program(model: Model, matrices: list[tuple[Matrix, ...]], device: Device) -> Program:
    """The program of a model, out of the matrices of its operations."""
    kinds = operation_kinds(model.config.n_layers)
    shapes = [_shape(those, device) for those in matrices]
    # The taps of the norms that take a residual as it is.
    taps = [layer.glu_tap for layer in model.layers]
    operations = []
    # A head's results go to no operation, but to the sampler.
    for kind, those, (shape, after) in zip(
            kinds, matrices, pairwise([*shapes, shapes[-1]]), strict=True):
        parameters = [matrix.scale for matrix in those]
        if kind is Op.RESIDUAL:
            parameters.append(taps.pop(0) if taps else model.head_tap)
        operations.append(Operation(
            kind=kind, rows=shape.rows, blocks=shape.blocks, short=shape.short,
            after_short=after.short, parameters=tuple(parameters)))
    return Program(
        channels=model.config.d_model, vocab_size=model.config.vocab_size,
        embed_scale=model.embed_scale, operations=tuple(operations))


def _weight_words(matrices: tuple[Matrix, ...], device: Device) -> NDArray[np.uint16]:
    """The weights of an operation as 16-bit words, in the engine's order."""
    shape = _shape(matrices, device)
    trits = np.stack([matrix.trits for matrix in matrices], axis=1)
    return pack_matrix(trits.reshape(shape.rows, shape.columns), shape, device.tiles(shape.rows))


def _field(values: NDArray[Any], bits: int) -> NDArray[np.uint16]:
    """Two's complement in the low ``bits`` of each unit, zeros above."""
    return (values & (1 << bits) - 1).astype(np.uint16)


def _check_segments(segments: list[Segment]) -> None:
    """Each segment lies within one region, and no two overlap."""
    for address, units in segments:
        end = address + len(units)
        if not len(units):
            raise ImageError(f"a segment must have units, not none at {address:#010x}")
        try:
            region = Region.of(address)
        except ValueError:
            raise ImageError(f"a segment must lie in a region, not at {address:#010x}") from None
        limit = Region.PROGRAM if region is Region.WEIGHTS else region + REGION_WORDS
        if end > limit:
            raise ImageError(f"a segment of the {region.name} region must end by {limit:#010x}, "
                             f"not lie at {address:#010x} ... {end - 1:#010x}")
    ordered = sorted((address, len(units)) for address, units in segments)
    for (address, count), (following, _) in pairwise(ordered):
        if address + count > following:
            raise ImageError(f"segments must not overlap, as those at {address:#010x} "
                             f"and {following:#010x} do")


def _read_segments(body: bytes, position: int, count: int) -> list[Segment]:
    segments: list[Segment] = []
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
