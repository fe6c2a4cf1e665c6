"""Targets by name: what runs a model, and how to reach it.

A target is written ``NAME`` or ``NAME:ARGUMENT``, for example ``reference``, ``netlist`` or
``serial:/dev/ttyUSB1``. Packages add targets through the entry points group ``trilight.targets``;
an entry point is a function that takes ``TargetOptions`` and returns a ``Transport``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from trilight.hw.support.extras import missing
from trilight.sw.errors import TargetError

from .transport import DEFAULT_BAUD, SerialTransport, Transport

__all__ = ["GROUP", "IMPORTED_GROUP", "TargetFactory", "TargetOptions", "open_transport",
           "serial_target", "target_names"]

GROUP = "trilight.targets"

IMPORTED_GROUP = "trilight.imported_targets"
"""Group of the targets of imported models."""


def _ignore(_message: str) -> None:
    pass


@dataclass(frozen=True)
class TargetOptions:
    """Options of a target."""

    argument: str = ""
    """Text after the colon of the target; empty without one."""
    progress: Callable[[str], None] = _ignore
    """Function that is called with a short message when something that takes seconds begins, such
    as compiling."""
    from_source: bool = False
    """True to make the design again, although a bundled one is there."""
    boot: bool = False
    """True to write the weights into the memory as a boot from flash does, instead of sending
    them."""
    waves: Path | None = None
    """File to draw the signals of a simulated chip into, while it runs."""


TargetFactory = Callable[[TargetOptions], Transport]


def target_names(group: str = GROUP) -> list[str]:
    """Names of the targets that are installed, sorted."""
    return sorted({entry.name for entry in entry_points(group=group)})


def open_transport(target: str, progress: Callable[[str], None] = _ignore, *,
                   from_source: bool = False, boot: bool = False,
                   waves: Path | None = None, group: str = GROUP) -> Transport:
    """Open the transport of ``target``; the rest is as in ``TargetOptions``.

    ``group``: that of the entry points.

    Raises
    ------
    TargetError
        No such target, it does not boot, or a package that it needs is missing.
    LinkError
        The target cannot be reached.
    """
    if not isinstance(target, str):
        raise TargetError(f"a target is named by a text such as 'reference', not by {target!r}")
    name, _, argument = target.partition(":")
    matches = entry_points(group=group, name=name)
    if not matches:
        raise TargetError(f"no target {target!r}; there are {', '.join(target_names(group))} "
                          "(serial needs a port, as in serial:/dev/ttyUSB1)")
    try:
        factory: TargetFactory = next(iter(matches)).load()
    except ImportError as error:
        raise TargetError(f"target {name!r} needs a package that is not installed: "
                          + missing(error)) from error
    transport = factory(TargetOptions(argument, progress, from_source, boot, waves))
    if boot and not transport.boots:
        transport.close()
        raise TargetError(f"a boot from flash is simulated by targets rtl and netlist, not by "
                          f"{target!r}; leave it out, and the weights are sent")
    if waves is not None and not transport.draws_waves:
        transport.close()
        raise TargetError(f"waves are drawn of targets rtl and netlist, not of {target!r}; leave "
                          "--waves out, or give one of these")
    return transport


def serial_target(options: TargetOptions) -> Transport:
    """Target ``serial:PORT`` or ``serial:PORT@BAUD``; a port may be an address.

    As in ``serial:rfc2217://HOST:PORT@12000000``.
    """
    port, _, baud = options.argument.rpartition("@")
    if not port or ("://" in options.argument and not baud.isdecimal()):
        # An address may have an @ of its own, before its host.
        port, baud = options.argument.removesuffix("@"), ""
    if not port:
        raise TargetError("serial needs a port, as in serial:/dev/ttyUSB1 or serial:COM5")
    if not baud:
        return SerialTransport(port)
    if not baud.isdecimal() or int(baud) == 0:
        raise TargetError(f"the rate of {options.argument!r} must be a whole number of baud, "
                          f"as in {port}@{DEFAULT_BAUD}, not {baud!r}")
    return SerialTransport(port, int(baud))
