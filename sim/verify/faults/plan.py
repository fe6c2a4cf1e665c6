"""Kinds of faults, and which of them are injected where."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["DEVICE", "HOST", "KINDS", "Fault", "Kind", "draw"]

HOST, DEVICE = "host", "device"
"""Who has sent the bytes that a fault concerns."""

MAX_FAULTS = 8
"""Faults of one kind in one request, at most."""

@dataclass(frozen=True)
class Kind:
    """A kind of fault."""

    group: str
    """``link``, ``host``, ``port``, ``power`` or ``chip``."""
    meaning: str
    directions: tuple[str, ...] = (HOST, DEVICE)
    pins: bool = False
    """True if it needs pins."""
    alone: bool = False
    """True if one is enough in a request."""
    apart: bool = False
    """True if only the emulated device does it at will, so that it has a campaign of its own."""


KINDS: Mapping[str, Kind] = {
    "drop": Kind("link", "a byte is lost"),
    "flip": Kind("link", "a bit of a byte is flipped"),
    "replace": Kind("link", "a byte becomes another"),
    "duplicate": Kind("link", "a byte comes twice"),
    "insert": Kind("link", "a random byte comes in between"),
    "zeros": Kind("link", "1 to 4 zero bytes come in between, half of them before a frame's end"),
    "swap": Kind("link", "two neighbouring bytes change places"),
    "lost": Kind("link", "2 to 64 bytes are lost"),
    "burst": Kind("link", "2 to 64 bytes become random ones"),
    "scatter": Kind("link", "4 to 16 bits of a frame are flipped"),
    "noise": Kind("link", "for 4,000 bytes, each byte is lost, flipped, doubled or followed by a "
                          "random one with a probability of 0.1 to 2 %", alone=True),
    "stall": Kind("link", "everything is late, by 20 us to 2 s"),
    "late": Kind("link", "a frame is late, by 20 us to 2 s, and others overtake it"),
    "echo": Kind("link", "a frame comes again, 20 us to 2 s later"),
    "silence": Kind("link", "nothing gets through for 10 ms to 5 s", alone=True),
    "baud": Kind("link", "the host's bit rate is off by up to 12 % for 20 us to 2 s", pins=True,
                 alone=True),
    "glitch": Kind("link", "a pin is held at 0 or 1 for 1 to 200 cycles", pins=True),
    "killed": Kind("host", "the host's program ends in the middle of a frame; another one starts",
                   (HOST,), alone=True),
    "intruder": Kind("port", "another host uses the device, with its own model half of the time, "
                             "and vanishes during its run", (HOST,), alone=True),
    "thief": Kind("port", "another program reads the port for 10 ms to 1 s", (DEVICE,),
                  alone=True),
    "reset": Kind("power", "the device is reset and has forgotten everything", alone=True),
    "hang": Kind("chip", "the chip hangs in its run, its clock going on, and is reset once the "
                         "request is given up", (HOST,), alone=True, apart=True),
}


@dataclass(frozen=True)
class Fault:
    """One fault."""

    kind: str
    direction: str
    """``HOST`` or ``DEVICE``."""
    at: int
    """Byte of the request and of that direction with which it begins."""
    rng: random.Random = field(repr=False, compare=False)
    """For what else is random about it."""


def draw(rng: random.Random, kind: str, lengths: Mapping[str, int]) -> list[Fault]:
    """Faults of a kind for one request.

    Parameters
    ----------
    lengths
        Bytes of each direction, if all is well.
    """
    faults = []
    for _ in range(1 if KINDS[kind].alone else rng.randint(1, MAX_FAULTS)):
        direction = rng.choice(KINDS[kind].directions)
        faults.append(Fault(kind, direction, rng.randrange(lengths[direction]),
                            random.Random(rng.getrandbits(64))))
    return faults
