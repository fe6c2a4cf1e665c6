"""Bytes to and from a device: the abstract transport, and a serial port.

A virtual board is a transport too; see ``trilight.sw.host.targets`` for how one is found by name.
"""

import abc
import contextlib
import errno
import importlib
import struct
import sys
import time
import warnings
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from trilight.hw.contract.protocol import START_SECONDS, Slip
from trilight.hw.support.extras import pip_install
from trilight.sw.errors import LinkError, MissingPackageError, PortBusyError, UnpluggedError

try:
    import fcntl
    import termios
except ImportError:  # Windows
    PORT_ERRORS: tuple[type[Exception], ...] = (OSError, ValueError)
else:
    PORT_ERRORS = (OSError, ValueError, termios.error)
"""Errors of opening a port or setting its rate; ``termios.error`` is no ``OSError``."""

__all__ = ["DEFAULT_BAUD", "SerialTransport", "Transport", "serial_package"]

DEFAULT_BAUD = 12_000_000
"""48 MHz at 4 clocks per bit."""

RATE_TOLERANCE = 0.02
"""Share by which a port's rate may differ from the one that was asked for."""

# Of linux/termios.h and asm-generic/termbits.h: the C library's own calls take no rate but those
# that have a name, and from glibc 2.42 on refuse the flag for others.
_TCGETS2, _TCSETS2 = 0x802C542A, 0x402C542B
_CBAUD, _BOTHER = 0o010017, 0o010000
_TERMIOS2 = struct.Struct("=4I20s2I")
"""Flags of input, output, control and local, other settings, rates of input and output."""

_NAMED_BAUD = 38_400
"""A port is opened at this rate, and given one without a name then."""


def serial_package() -> ModuleType:
    """The package pyserial, whose module is called ``serial`` as are those of others.

    Raises
    ------
    MissingPackageError
        It is not installed, or another package is in its place.
    """
    try:
        found = importlib.import_module("serial")
        importlib.import_module("serial.tools.list_ports")
    except ImportError as error:
        place = getattr(sys.modules.get("serial"), "__file__", None)
        raise MissingPackageError(
            f"serial ports need pyserial, and {place} is another package called serial; remove "
            f"that one, then {pip_install('pyserial', '--force-reinstall')}" if place else
            f"serial ports need pyserial, which is not installed ({error}); "
            + pip_install("pyserial")) from error
    return found

POLL_S = 0.02
WRITE_TIMEOUT_S = 5.0


class Transport(abc.ABC):
    """A two-way stream of bytes to a device.

    Nothing is promised about delivery: the driver copes with lost, damaged and repeated bytes.
    """

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Name of the device in messages, for example ``serial:/dev/ttyUSB1``."""

    @property
    def timeout_scale(self) -> float:
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
    def build_info(self) -> Mapping[str, Any]:
        """Build info of the design that runs, as fields of ``trilight.sw.report.run.Run``.

        Such as ``netlist_sha256``; ``activity`` once a run has ended.
        """
        return {}

    @property
    def boots(self) -> bool:
        """True if ``place`` writes the weight memory, as booting a device from flash does."""
        return False

    @property
    def draws_waves(self) -> bool:
        """True if the device's signals are drawn into a file, as ``TargetOptions`` may ask."""
        return False

    def place(self, unit: int, data: bytes) -> None:
        """Write the weight memory, behind the device's back.

        Parameters
        ----------
        unit
            Address of the first unit, that of a word's first.
        data
            Two for each unit.

        Raises
        ------
        LinkError
            It does not boot.
        """
        raise LinkError(f"the memory of {self.name} cannot be written from outside")

    def wake(self) -> None:  # noqa: B027 - most have nothing to wake
        """Start a device that may have stopped its clock, before it is sent a frame.

        Raises
        ------
        LinkError
            The bytes cannot be sent.
        """

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
    port
        Device name, such as ``/dev/ttyUSB1`` or ``COM5``; or an address that pyserial knows, such
        as ``socket://HOST:PORT`` or ``rfc2217://HOST:PORT`` for a port of another computer.
    baud
        Bits per second; the board's clock frequency over its clocks per bit.

    Raises
    ------
    PortBusyError
        Another program holds the port.
    LinkError
        The port does not exist, may not be opened, or does not take the rate.
    MissingPackageError
        pyserial is not installed.
    """

    def __init__(self, port: str, baud: int = DEFAULT_BAUD) -> None:
        self._port_name = port
        self._remote = "://" in port
        self._serial = serial_package()
        try:
            self._port = self._open(port, baud)
        except PORT_ERRORS as error:
            raise _explain_open(port, baud, error) from error
        # FTDI bridges hold bytes back for 16 ms unless told otherwise; only Linux offers it, and
        # not for every port.
        with contextlib.suppress(AttributeError, NotImplementedError, OSError, ValueError):
            self._port.set_low_latency_mode(True)

    def _open(self, port: str, baud: int) -> Any:
        if self._remote:
            with warnings.catch_warnings():
                # pyserial 3.5 starts a thread in a way that Python warns of.
                warnings.simplefilter("ignore", DeprecationWarning)
                return self._serial.serial_for_url(port, baud, timeout=POLL_S)
        nameless = (sys.platform == "linux" and baud > 0 and not hasattr(termios, f"B{baud}"))
        opened = self._serial.Serial(port, _NAMED_BAUD if nameless else baud, timeout=POLL_S,
                                     write_timeout=WRITE_TIMEOUT_S, exclusive=True)
        if nameless:
            try:
                _set_rate(opened.fileno(), baud)
            except BaseException:
                opened.close()
                raise
        return opened

    @property
    def name(self) -> str:
        return f"serial:{self._port_name}"

    def write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except self._serial.SerialTimeoutException as error:
            raise LinkError(f"{self.name} took no bytes for {WRITE_TIMEOUT_S:.0f} s; "
                            "unplug the board, plug it in and try again") from error
        except PORT_ERRORS as error:
            raise self._unplugged(error) from error

    def wake(self) -> None:
        # A delimiter, which one that runs takes for an empty frame.
        self.write(bytes([Slip.END]))
        time.sleep(START_SECONDS)

    def read(self, timeout_s: float) -> bytes:
        deadline = time.monotonic() + timeout_s
        try:
            while True:
                data = self._waiting()
                if data or time.monotonic() >= deadline:
                    return data
        except PORT_ERRORS as error:
            raise self._unplugged(error) from error

    def _waiting(self) -> bytes:
        """Read what is there or comes within ``POLL_S``; raise ``OSError`` if the port has gone."""
        try:
            return bytes(self._port.read(max(1, self._port.in_waiting)))
        except self._serial.SerialException:
            if self._remote:
                raise
            # Bytes that were announced are not there: another program has read them, or the port
            # has gone, and then it cannot say how many there are either.
            _ = self._port.in_waiting
            return b""

    def close(self) -> None:
        self._port.close()

    def _unplugged(self, error: Exception) -> UnpluggedError:
        if self._remote:
            return UnpluggedError(f"the connection to {self.name} has ended ({error}); look after "
                                  "the other computer, and open it again")
        return UnpluggedError(f"{self.name} has gone ({error}); was the board unplugged? "
                              "Plug it in and open it again")


def _set_rate(port: int, baud: int) -> None:
    """Set a Linux port's rate to a number that need not have a name.

    Raises
    ------
    OSError, ValueError
        The port does not take it.
    """
    if baud >= 1 << 32:
        raise ValueError("no port is so fast")
    *flags, others, _, _ = _TERMIOS2.unpack(fcntl.ioctl(port, _TCGETS2, bytes(_TERMIOS2.size)))
    flags[2] = flags[2] & ~_CBAUD | _BOTHER
    fcntl.ioctl(port, _TCSETS2, _TERMIOS2.pack(*flags, others, baud, baud))
    *_, got = _TERMIOS2.unpack(fcntl.ioctl(port, _TCGETS2, bytes(_TERMIOS2.size)))
    if abs(got - baud) > RATE_TOLERANCE * baud:
        raise ValueError(f"its driver made {got:,} of it")


def _explain_open(port: str, baud: int, error: Exception) -> LinkError:
    """Turn an error of opening a port into one that says what to try."""
    # On Windows pyserial keeps the cause in the text only.
    code = getattr(error, "errno", None)
    if code in (errno.EBUSY, errno.EAGAIN) or "Access is denied" in str(error):
        return PortBusyError(f"{port} is held by another program; close it, or choose another port")
    if code == errno.EACCES:
        return LinkError(f"no permission to open {port}; on Linux add yourself to the group that "
                         "owns it (often dialout or uucp) and log in again, or let trilight doctor "
                         "print a rule for udev")
    if "://" in port:
        return LinkError(f"cannot open {port} at {baud:,} baud: {error}; check the address, and "
                         "that the other computer serves its port there")
    if not isinstance(error, OSError):
        return LinkError(f"{port} cannot run at {baud:,} baud: {error}; give the rate that the "
                         "board was built for, as in serial:PORT@BAUD, or use another adapter")
    list_ports = importlib.import_module("serial.tools.list_ports")
    present = ", ".join(sorted(info.device for info in list_ports.comports())) or "none"
    return LinkError(f"cannot open {port}: {error}; serial ports present: {present}")
