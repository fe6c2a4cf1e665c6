"""Biases that a device has learnt while it read, read from it and restored."""

from trilight.hw.contract.device import Device
from trilight.hw.contract.protocol import BIASES, MAX_WORDS, WORD_BYTES
from trilight.sw.errors import PromptError

from .link import Link, read_request, write_request
from .loader import pieces

__all__ = ["read_learnt", "write_learnt"]


def read_learnt(link: Link, device: Device) -> bytes:
    """Return the biases of every order, a byte each."""
    read = [link.request(read_request(address + start, min(MAX_WORDS, depth - start))).check()
            for address, depth in _biases(device) for start in range(0, depth, MAX_WORDS)]
    return b"".join(read)[::WORD_BYTES]


def write_learnt(link: Link, device: Device, data: bytes | None) -> None:
    """Write what ``read_learnt`` returned; without it, zeros.

    Raises
    ------
    PromptError
        The device learns another number of biases.
    """
    size = sum(depth for _, depth in _biases(device))
    data = bytes(size) if data is None else data
    if len(data) != size:
        raise PromptError(f"{link.transport.name} learns {size:,} biases, and these are "
                          f"{len(data):,}; they come from another kind of device")
    for address, depth in _biases(device):
        part, data = data[:depth], data[depth:]
        words = b"".join(bytes((bias, 0)) for bias in part)
        for place, piece in pieces(address, words):
            link.request(write_request(place, piece)).check()


def _biases(device: Device) -> list[tuple[int, int]]:
    """Return address and number of the biases of each order."""
    return list(zip(BIASES, device.adapt_depths, strict=False))
