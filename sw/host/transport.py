"""Bytes to and from a device: the abstract transport, and a serial port.

A virtual board is a transport too; see ``trilight.sw.host.targets`` for how one is found by name.
"""

import abc
import contextlib
import errno
import time
from collections.abc import Mapping
from typing import Any

import serial
from serial.tools import list_ports

from trilight.sw.errors import LinkError, PortBusyError, UnpluggedError

__all__ = ["DEFAULT_BAUD", "SerialTransport", "Transport"]

DEFAULT_BAUD = 12_000_000
"""48 MHz at 4 clocks per bit."""

POLL_S = 0.02
WRITE_TIMEOUT_S = 5.0


class Transport(abc.ABC):
    """A two-way stream of bytes to a device.

    Nothing is promised about delivery: the driver copes with lost, damaged and repeated bytes.
    """

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """What messages call the device, for example ``serial:/dev/ttyUSB1``."""

    @property
    def patience(self) -> float:
        """Factor, at least 1, on every timeout: how much slower than real time the device may be.
        """
        return 1.0

    def now(self) -> float:
        """Seconds on the clock by which the driver's timeouts are counted.

        A transport that simulates its device may have a clock of its own, which its ``read`` moves
        on.
        """
        return time.monotonic()

    @property
    def facts(self) -> Mapping[str, Any]:
        """What is known of the design that runs, as fields of ``trilight.sw.report.report.Run``.

        Such as ``netlist_sha256``; ``activity`` once a run has ended.
        """
        return {}

    @abc.abstractmethod
    def write(self, data: bytes) -> None:
        """Send all of ``data``.

        Raises
        ------
        LinkError
            The bytes cannot be sent.
        """

    @abc.abstractmethod
    def read(self, timeout_s: float) -> bytes:
        """Return what has arrived as soon as there is something.

        ``b""`` says that ``timeout_s`` seconds went by, or could have gone by, without a byte.

        Raises
        ------
        LinkError
            Bytes can no longer arrive.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Give the device back. May be called twice."""


class SerialTransport(Transport):
    """A board behind a serial port.

    Parameters
    ----------
    port : str
        Device name, such as ``/dev/ttyUSB1`` or ``COM5``.
    baud : int
        Bits per second; the board's clock frequency over its clocks per bit.

    Raises
    ------
    PortBusyError
        Another program holds the port.
    LinkError
        The port does not exist, may not be opened, or does not take the rate.
    """

    def __init__(self, port: str, baud: int = DEFAULT_BAUD) -> None:
        self._port_name = port
        try:
            self._port = serial.Serial(port, baud, timeout=POLL_S, write_timeout=WRITE_TIMEOUT_S,
                                       exclusive=True)
        except (OSError, ValueError) as error:
            raise _explain_open(port, baud, error) from error
        # FTDI bridges hold bytes back for 16 ms unless told otherwise; only Linux offers it, and
        # not for every port.
        with contextlib.suppress(AttributeError, NotImplementedError, OSError, ValueError):
            self._port.set_low_latency_mode(True)

    @property
    def name(self) -> str:
        return f"serial:{self._port_name}"

    def write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except serial.SerialTimeoutException as error:
            raise LinkError(f"{self.name} took no bytes for {WRITE_TIMEOUT_S:.0f} s; "
                            "unplug the board, plug it in and try again") from error
        except OSError as error:
            raise self._unplugged(error) from error

    def read(self, timeout_s: float) -> bytes:
        deadline = time.monotonic() + timeout_s
        try:
            while True:
                data = self._waiting()
                if data or time.monotonic() >= deadline:
                    return data
        except OSError as error:
            raise self._unplugged(error) from error

    def _waiting(self) -> bytes:
        """What is there, or comes within ``POLL_S``; raises ``OSError`` if the port has gone."""
        try:
            return bytes(self._port.read(max(1, self._port.in_waiting)))
        except serial.SerialException:
            # Bytes that were announced are not there: another program has read them, or the port
            # has gone, and then it cannot say how many there are either.
            _ = self._port.in_waiting
            return b""

    def close(self) -> None:
        self._port.close()

    def _unplugged(self, error: OSError) -> UnpluggedError:
        return UnpluggedError(f"{self.name} has gone ({error}); was the board unplugged? "
                              "Plug it in and open it again")


def _explain_open(port: str, baud: int, error: OSError | ValueError) -> LinkError:
    """Turn an error of opening a port into one that says what to try."""
    # On Windows pyserial keeps the cause in the text only.
    code = getattr(error, "errno", None)
    if code in (errno.EBUSY, errno.EAGAIN) or "Access is denied" in str(error):
        return PortBusyError(f"{port} is held by another program; close it, or choose another port")
    if code == errno.EACCES:
        return LinkError(f"no permission to open {port}; on Linux add yourself to the group that "
                         "owns it (often dialout or uucp) and log in again")
    if isinstance(error, ValueError):
        return LinkError(f"{port} cannot run at {baud:,} baud: {error}")
    present = ", ".join(sorted(info.device for info in list_ports.comports())) or "none"
    return LinkError(f"cannot open {port}: {error}; serial ports present: {present}")
