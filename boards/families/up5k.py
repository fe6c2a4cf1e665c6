"""The Lattice iCE40 UltraPlus 5K: a PLL, an oscillator of its own, and weights in SPRAM."""

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

from amaranth.hdl import Instance, Module, Signal
from amaranth.lib import io

from trilight.hw.contract.device import Device
from trilight.hw.contract.errors import BoardError
from trilight.hw.contract.protocol import REST_SECONDS
from trilight.hw.flow.ice40 import ICE40

from .bitstreams import ice40_problem
from .board import FamilyBoard, Pll
from .clock_stop import ClockStop
from .devices import UP5K

__all__ = ["HFOSC_TOLERANCE", "PllSettings", "UP5KBoard"]

HFOSC_HZ = {48_000_000: "0b00", 24_000_000: "0b01", 12_000_000: "0b10", 6_000_000: "0b11"}
"""Frequencies of the internal oscillator, and the divider that makes each."""

HFOSC_TOLERANCE = 0.10
"""Tolerance of the internal oscillator, commercial grade: Lattice FPGA-DS-02008, table of the
high-frequency oscillator."""


LOCK_SECONDS = 100e-6
"""Time from the start of a PLL to its lock, at most 50 us (Lattice FPGA-DS-02008, timing of the
sysCLOCK PLL), with a margin."""


@dataclass(frozen=True)
class PllSettings(Pll):
    """Divider settings of an iCE40 PLL with simple feedback.

    The output is ``reference * (divf + 1) / ((divr + 1) * 2**divq)``; the phase detector runs at
    ``reference / (divr + 1)``, the oscillator at ``2**divq`` times the output.
    """

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
    def choose(cls, reference_hz: int, output_hz: float) -> Self:
        """Return the settings whose output is nearest to ``output_hz``.

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
        return cls.nearest(choices, reference_hz, output_hz)


class UP5KBoard(FamilyBoard):
    """A board with an iCE40 UP5K in a 48-pin QFN."""

    part = "iCE40UP5K-SG48"
    part_options = ("--up5k", "--package", "sg48")
    default_hz = 48_000_000
    toolchain = ICE40
    device = UP5K
    max_hz = 50_000_000
    # A multiplication inside SB_MAC16 takes 20 ns, which nextpnr does not check.
    max_hz_reason = "for the sake of the multipliers"
    # Block RAM of an iCE40 reads as zero for some 3 us after configuration; five times that.
    reset_seconds = 15e-6
    # Of 7 to 10 MHz, which Lattice's iCE40 data sheet states for the mode that icepack chooses.
    configuration_hz = 7e6
    ready_made = True
    clock_on_pad: ClassVar[bool] = True
    """True if the oscillator is at the pin that reaches the PLL directly."""
    idle_stop: ClassVar[bool] = False
    """True if the chip's clock, and the PLL that makes it, stop while nothing runs."""
    rest_seconds: ClassVar[float] = REST_SECONDS
    """Time without anything to do after which they stop, at least."""

    @property
    def can_stop_clock(self) -> bool:
        return self.oscillator is not None

    @property
    def clock_tolerance(self) -> float:
        return HFOSC_TOLERANCE if self.oscillator is None else 0.0

    @property
    def terminal_device(self) -> Device:
        # Its table takes a block RAM, which the second sequence leaves.
        return replace(super().terminal_device, sequences=1)

    def _choose_clock(self, frequency: float) -> Pll | None:
        if self.oscillator is None:
            if frequency not in HFOSC_HZ:
                makes = ", ".join(f"{hz / 1e6:g}" for hz in HFOSC_HZ if hz <= self._max_hz())
                raise BoardError(f"the internal oscillator of {self.name} makes {makes} MHz, not "
                                 f"{frequency / 1e6:g} MHz")
            return None
        if frequency == self.oscillator.hz:
            return None
        return PllSettings.choose(self.oscillator.hz, frequency)

    def _check_capacity(self, device: Device) -> None:
        if self.idle_stop and not self.can_stop_clock:
            raise BoardError(f"the clock of {self.name} comes from the internal oscillator, which "
                             "can not be stopped; leave out idle_stop")
        if self.idle_stop and device.terminal:
            raise BoardError("a chip whose clock stops does not hear the first character that is "
                             "typed; leave out the terminal or idle_stop")
        # More than the protocol's address space or the part has room for.
        for field in fields(Device):
            if field.name in ("name", "weight_memory", "outside", "terminal", "adapt_orders",
                              "adapt_token_rows", "adapt_rows"):
                continue
            value, maximum = getattr(device, field.name), getattr(self.device, field.name)
            # The SPRAMs are there or not, and the protocol knows one kind of weight words.
            fixed = ("weight_words", "buffer_words", "lanes", "trits", "tile_rows")
            minimum = maximum if field.name in fixed else min(1, maximum)
            if not minimum <= value <= maximum:
                allowed = f"{maximum:,}" if minimum == maximum else f"{minimum} to {maximum:,}"
                raise BoardError(f"{field.name} of this chip must be {allowed}, not {value:,}")

    def bitstream_problem(self, data: bytes) -> str | None:
        return ice40_problem(data, "iCE40 UP5K")

    def make_clock(self, m: Module, platform: Any, clock: Signal, locked: Signal,
                   ) -> ClockStop | None:
        if not self.idle_stop:
            self._make_source(m, platform, clock, locked)
            return None
        m.submodules.clock_stop = stop = ClockStop(
            clock_hz=self.clock_hz, rest_seconds=self.rest_seconds,
            start_seconds=LOCK_SECONDS, buffer=lambda signal, net: Instance(
                "SB_GB", i_USER_SIGNAL_TO_GLOBAL_BUFFER=signal, o_GLOBAL_BUFFER_OUTPUT=net))
        self._make_source(m, platform, stop.source, locked, stop.stopped)
        m.d.comb += [stop.locked.eq(locked), clock.eq(stop.clock)]
        return stop

    def _make_source(self, m: Module, platform: Any, clock: Signal, locked: Signal,
                     stopped: Signal | None = None) -> None:
        """Drive ``clock`` from where the chip's frequency comes from, but while ``stopped``."""
        if self.oscillator is None:
            m.submodules.oscillator = Instance(
                "SB_HFOSC", p_CLKHF_DIV=HFOSC_HZ[self.clock_hz],
                i_CLKHFPU=1, i_CLKHFEN=1, o_CLKHF=clock)
            m.d.comb += locked.eq(1)
            return
        pin = platform.request(self.oscillator.resource, dir="-")
        if self.pll is None:
            m.submodules.clock_buffer = buffer = io.Buffer(io.Direction.Input, pin)
            m.d.comb += [clock.eq(buffer.i), locked.eq(1)]
            return
        assert isinstance(self.pll, PllSettings)
        if self.clock_on_pad:
            reference = {"io_PACKAGEPIN": pin.io}
        else:
            m.submodules.clock_buffer = buffer = io.Buffer(io.Direction.Input, pin)
            reference = {"i_REFERENCECLK": buffer.i}
        kind = "PAD" if self.clock_on_pad else "CORE"
        options: dict[str, str | int] = {"p_PLLOUT_SELECT": "GENCLK"}
        outputs = {"o_PLLOUTGLOBAL": clock}
        if stopped is not None:
            # That with two outputs: nextpnr leaves the latch out of the other. The gate is made of
            # logic, which no global net reaches.
            kind = f"2F_{kind}"
            options = {"p_PLLOUT_SELECT_PORTA": "GENCLK", "p_ENABLE_ICEGATE_PORTA": 1,
                       "p_ENABLE_ICEGATE_PORTB": 1}
            outputs = {"o_PLLOUTCOREA": clock, "i_LATCHINPUTVALUE": stopped}
        m.submodules.pll = Instance(
            f"SB_PLL40_{kind}",
            p_FEEDBACK_PATH="SIMPLE",
            **options,
            p_DIVR=self.pll.divr,
            p_DIVF=self.pll.divf,
            p_DIVQ=self.pll.divq,
            p_FILTER_RANGE=self.pll.filter_range,
            i_RESETB=1,
            i_BYPASS=0,
            **reference,
            **outputs,
            o_LOCK=locked,
        )
