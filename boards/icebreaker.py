"""The iCEBreaker: a Lattice iCE40 UP5K with a 12 MHz oscillator and a USB serial port."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from amaranth.hdl import (
    ClockDomain,
    ClockSignal,
    Elaboratable,
    Instance,
    Module,
    ResetSignal,
    Signal,
)
from amaranth.lib import io
from amaranth.lib.cdc import FFSynchronizer
from amaranth_boards.icebreaker import ICEBreakerPlatform

from trilight.hw.contract.device import UP5K, DeviceConfig
from trilight.hw.contract.errors import BoardError

__all__ = ["Icebreaker", "PllSettings"]

OSCILLATOR_HZ = 12_000_000

MAX_HZ = 50_000_000
"""A multiplication inside SB_MAC16 takes 20 ns, which nextpnr does not check."""

RESET_SECONDS = 15e-6
"""Block RAM of an iCE40 reads as zero for some 3 us after configuration; five times that."""

BAUD_TOLERANCE = 0.02
"""Two ends of a serial line may differ by about 4 %; half of it is left to the other end."""


@dataclass(frozen=True)
class PllSettings:
    """Divider settings of an iCE40 PLL with simple feedback.

    The output is ``reference * (divf + 1) / ((divr + 1) * 2**divq)``; the phase detector runs at
    ``reference / (divr + 1)``, the oscillator at ``2**divq`` times the output.
    """

    reference_hz: int
    divr: int
    divf: int
    divq: int

    @property
    def output_hz(self) -> float:
        return self.reference_hz * (self.divf + 1) / ((self.divr + 1) << self.divq)

    @property
    def filter_range(self) -> int:
        """Loop filter for the phase detector's frequency, by the bands of Lattice's tools."""
        detector_hz = self.reference_hz / (self.divr + 1)
        bands = (17e6, 26e6, 44e6, 66e6, 101e6)
        return 1 + sum(detector_hz >= limit for limit in bands)

    @classmethod
    def choose(cls, reference_hz: int, output_hz: float) -> "PllSettings":
        """Settings whose output is nearest to ``output_hz``.

        Limits of the part: detector 10 to 133 MHz, oscillator 533 to 1066 MHz, output 16 to
        275 MHz.

        Raises
        ------
        BoardError
            Nothing within 0.1 % can be made.
        """
        choices = [
            settings
            for divr in range(16) if 10e6 <= reference_hz / (divr + 1) <= 133e6
            for divq in range(1, 7)
            for divf in range(128)
            if 533e6 <= (settings := cls(reference_hz, divr, divf, divq)).output_hz * 2**divq
            <= 1066e6 and 16e6 <= settings.output_hz <= 275e6
        ]
        best = min(choices, key=lambda settings: abs(settings.output_hz - output_hz))
        if abs(best.output_hz - output_hz) > 1e-3 * output_hz:
            raise BoardError(
                f"the PLL can not make {output_hz / 1e6:g} MHz from {reference_hz / 1e6:g} MHz; "
                f"the nearest it can make is {best.output_hz / 1e6:g} MHz")
        return best


def _default_chip(**parameters: Any) -> Elaboratable:
    from trilight.hw.chip import Chip

    return Chip(**parameters)


def _check_capacity(device: DeviceConfig) -> None:
    """Refuse more than the part and the protocol's address space have room for."""
    for field in fields(DeviceConfig):
        if field.name == "name":
            continue
        value, most = getattr(device, field.name), getattr(UP5K, field.name)
        # The SPRAMs are there or not, and the engine's latency is what it is.
        least = most if field.name in ("weight_words", "min_rows") else 1
        if not least <= value <= most:
            allowed = f"{most:,}" if least == most else f"{least} to {most:,}"
            raise BoardError(f"{field.name} of this chip must be {allowed}, not {value:,}")


class Icebreaker:
    """The chip on an iCEBreaker, at a frequency and a serial speed.

    Parameters
    ----------
    frequency : float
        Clock of the chip in Hz: the oscillator's 12 MHz, or from 16 to 50 MHz by PLL.
    baud : float, optional
        Speed of the serial port in bits per second; a clock divided by an integer, at least 4, to
        within 2 %. By default a quarter of the clock.
    device : DeviceConfig
        Capacity of the chip.
    chip : callable
        What to build: called with the parameters of ``trilight.hw.chip.Chip``, it returns a
        component with its ports.

    Raises
    ------
    BoardError
        The part can not make the frequency, or the design not the serial speed or capacity.
    """

    name = "icebreaker"
    top = "trilight"
    part = "iCE40UP5K-SG48"
    nextpnr_options = ("--up5k", "--package", "sg48")
    clock_pin = "clk12_0__io"
    rx_pin = "uart_0__rx__io"
    tx_pin = "uart_0__tx__io"
    oscillator_hz = OSCILLATOR_HZ

    def __init__(self, *, frequency: float = 48e6, baud: float | None = None,
                 device: DeviceConfig = UP5K, chip: Callable[..., Any] = _default_chip) -> None:
        if not frequency <= MAX_HZ:
            raise BoardError(f"the clock may be at most {MAX_HZ / 1e6:g} MHz, for the sake of the "
                             f"multipliers, not {frequency / 1e6:g} MHz")
        if baud is not None and not baud > 0:
            raise BoardError(f"the serial speed has to be positive, not {baud:g} baud")
        self.pll = (None if frequency == OSCILLATOR_HZ
                    else PllSettings.choose(OSCILLATOR_HZ, frequency))
        self.clock_hz = OSCILLATOR_HZ if self.pll is None else round(self.pll.output_hz)
        self.clocks_per_bit = 4 if baud is None else max(4, round(self.clock_hz / baud))
        self.baud = self.clock_hz / self.clocks_per_bit
        if baud is not None and abs(self.baud - baud) > BAUD_TOLERANCE * baud:
            raise BoardError(
                f"{baud:,.0f} baud can not be made from {self.clock_hz / 1e6:g} MHz, which gives "
                f"{self.baud:,.0f} at {self.clocks_per_bit} clocks per bit; the fastest is "
                f"{self.clock_hz / 4:,.0f}")
        _check_capacity(device)
        self.device_config = device
        self._chip = chip

    @property
    def clock_source(self) -> str:
        """Where the clock comes from, as part of a sentence."""
        source = f"{OSCILLATOR_HZ / 1e6:g} MHz oscillator of the board"
        return source if self.pll is None else f"PLL on the {source}"

    def platform(self) -> ICEBreakerPlatform:
        return ICEBreakerPlatform()

    def design(self, build_id: int) -> Elaboratable:
        """Return the whole design: clock, reset, pins, and a chip that reports ``build_id``."""
        return _Top(self, self._chip(
            device=self.device_config, clock_hz=self.clock_hz,
            clocks_per_bit=self.clocks_per_bit, build_id=build_id))


class _Top(Elaboratable):
    def __init__(self, board: Icebreaker, chip: Any) -> None:
        self._board = board
        self._chip = chip

    def elaborate(self, platform: Any) -> Module:
        board = self._board
        m = Module()

        clock = Signal()
        locked = Signal()
        pin = platform.request("clk12", dir="-")
        if board.pll is None:
            m.submodules.clock_buffer = buffer = io.Buffer(io.Direction.Input, pin)
            m.d.comb += [clock.eq(buffer.i), locked.eq(1)]
        else:
            m.submodules.pll = Instance(
                "SB_PLL40_PAD",
                p_FEEDBACK_PATH="SIMPLE",
                p_PLLOUT_SELECT="GENCLK",
                p_DIVR=board.pll.divr,
                p_DIVF=board.pll.divf,
                p_DIVQ=board.pll.divq,
                p_FILTER_RANGE=board.pll.filter_range,
                i_RESETB=1,
                i_BYPASS=0,
                io_PACKAGEPIN=pin.io,
                o_PLLOUTGLOBAL=clock,
                o_LOCK=locked,
            )

        m.domains += [ClockDomain("sync"), ClockDomain("por", reset_less=True, local=True)]
        m.d.comb += [ClockSignal("sync").eq(clock), ClockSignal("por").eq(clock)]
        locked_por = Signal()
        m.submodules.locked = FFSynchronizer(locked, locked_por, o_domain="por")
        timer = Signal(math.ceil(math.log2(RESET_SECONDS * board.clock_hz)) + 1)
        with m.If(~locked_por):
            m.d.por += timer.eq(0)
        with m.Elif(~timer[-1]):
            m.d.por += timer.eq(timer + 1)
        m.d.comb += ResetSignal("sync").eq(~timer[-1])

        m.submodules.chip = chip = self._chip
        uart = platform.request("uart", dir={"rx": "-", "tx": "-"})
        m.submodules.rx = rx = io.Buffer(io.Direction.Input, uart.rx)
        m.submodules.tx = tx = io.Buffer(io.Direction.Output, uart.tx)
        trace_running = Signal(attrs={"keep": 1})
        trace_checking = Signal(attrs={"keep": 1})
        m.d.comb += [
            chip.rx.eq(rx.i),
            tx.o.eq(chip.tx),
            trace_running.eq(chip.running),
            trace_checking.eq(chip.checking),
        ]
        return m
