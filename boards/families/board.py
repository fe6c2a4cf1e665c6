"""Parts of every board, whatever its FPGA: a clock, a reset, a serial port, a lamp, a chip."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from amaranth.build import Resource
from amaranth.hdl import (
    ClockDomain,
    ClockSignal,
    Const,
    Elaboratable,
    Instance,
    Module,
    ResetSignal,
    Signal,
    Value,
)
from amaranth.lib import io
from amaranth.lib.cdc import FFSynchronizer

from trilight.hw.contract.device import Device
from trilight.hw.contract.errors import BoardError
from trilight.hw.contract.protocol import FLASH_OFFSET, FLASH_SLOTS
from trilight.hw.flow.toolchain import Toolchain

from .clock_stop import ClockStop

__all__ = ["BAUD_TOLERANCE", "MIN_CLOCKS_PER_BIT", "BlockRamBoard", "FamilyBoard", "FeedbackPll",
           "Oscillator", "Pll"]

BAUD_TOLERANCE = 0.02
"""Share by which a serial line's two ends may differ. At 4 clocks per bit the receiver samples
before the middle of a bit: it follows a host that is up to 5 % slower, but only 2 % faster."""

MIN_CLOCKS_PER_BIT = 4
"""Cycles of a bit that the chip's receiver needs to find its middle."""


@dataclass(frozen=True)
class Oscillator:
    """Clock that a board brings to a pin.

    Parameters
    ----------
    resource : str
        Name of the pin's resource on the platform.
    hz : int
    """

    resource: str
    hz: int


@dataclass(frozen=True)
class Pll:
    """Settings of a PLL; a family adds its dividers.

    Parameters
    ----------
    reference_hz : int
        Frequency that goes in.
    """

    reference_hz: int

    @property
    def output_hz(self) -> float:
        """Frequency that comes out."""
        raise AssertionError("a family's settings say what comes out")

    @classmethod
    def nearest(cls, choices: Sequence[Self], reference_hz: int, output_hz: float) -> Self:
        """Return the first of the choices whose output is nearest to ``output_hz``.

        Raises
        ------
        BoardError
            None is within 0.1 % of it.
        """
        best = min(choices, key=lambda settings: abs(settings.output_hz - output_hz))
        if abs(best.output_hz - output_hz) > 1e-3 * output_hz:
            raise BoardError(
                f"the PLL can not make {output_hz / 1e6:g} MHz from {reference_hz / 1e6:g} MHz; "
                f"the nearest it can make is {best.output_hz / 1e6:g} MHz")
        return best


@dataclass(frozen=True)
class FeedbackPll(Pll):
    """Settings of a PLL whose output, divided, goes back to its phase detector.

    The output is ``reference * feedback / divider``, and the oscillator runs at ``output`` times
    it.
    """

    divider: int
    feedback: int
    output: int

    @property
    def output_hz(self) -> float:
        return self.reference_hz * self.feedback / self.divider

    @property
    def vco_hz(self) -> float:
        """Frequency of the oscillator."""
        return self.output_hz * self.output

    @classmethod
    def choose(cls, reference_hz: int, output_hz: float) -> Self:
        """Return the settings whose output is nearest to ``output_hz``, within the part's limits.

        Raises
        ------
        BoardError
            Nothing within 0.1 % can be made.
        """
        raise AssertionError("a family's settings know the limits of its PLL")


def _default_chip(**parameters: Any) -> Elaboratable:
    from trilight.hw.chip import Chip

    return Chip(**parameters)


class FamilyBoard:
    """The chip on a board, at a frequency and a serial speed.

    A family derives from it, and a board from its family: its attributes are the board's data, a
    file of about fifteen lines.

    Parameters
    ----------
    frequency : float, optional
        Clock of the chip in Hz. By default the board's ``default_hz``.
    baud : float, optional
        Speed of the serial port in bits per second; a clock divided by an integer, at least 4, to
        within 2 %. By default the board's ``default_baud``, or a quarter of the clock.
    device : Device, optional
        Capacity of the chip. By default what the family's part holds.
    chip : callable
        What to build: called with the parameters of ``trilight.hw.chip.Chip``, it returns a
        component with its ports.

    Raises
    ------
    BoardError
        The part can not make the frequency, or the design not the serial speed or capacity.
    """

    # Data of a board.
    name: ClassVar[str]
    title: ClassVar[str]
    """Name that its maker gave it."""
    part: ClassVar[str]
    part_options: ClassVar[Sequence[str]]
    """Options that tell placer and packer which part it is."""
    oscillator: ClassVar[Oscillator | None]
    """Clock at a pin; ``None`` for the part's own."""
    default_hz: ClassVar[int]
    default_baud: ClassVar[int | None] = None
    """``None`` for a quarter of the clock."""
    max_baud: ClassVar[int]
    """Fastest serial speed of the board's bridge to USB."""
    led: ClassVar[str | None] = None
    """Resource of a lamp that is lit during a run."""
    damage_led: ClassVar[str | None] = None
    """Resource of a lamp that is lit when the image in flash memory is damaged; of a board that
    boots and has none, ``led`` is lit then."""
    busy: ClassVar[str | None] = None
    """Resource of a pin that is high during a run, to trigger a meter."""
    flash: ClassVar[str | None] = None
    """Resource of the flash memory, if the chip boots from it."""
    flash_offset: ClassVar[int] = FLASH_OFFSET
    """Byte of that memory at which the first slot of a model begins, above the bitstream."""
    flash_bytes: ClassVar[int] = 1 << 24
    """Bytes of that memory."""
    flash_holds: ClassVar[bool] = False
    """True if the design keeps the lines for write protection and hold of that memory inactive;
    elsewhere resistors do."""
    slot_button: ClassVar[str | None] = None
    """Resource of a button that chooses the second slot while it is held down at power-up."""
    held: ClassVar[Mapping[str, int]] = {}
    """Resources of pins that stay at a level."""
    extra_resources: ClassVar[Sequence[Resource]] = ()
    """Resources that the platform lacks."""
    loader: ClassVar[Sequence[str]] = ()
    """Options of openFPGALoader that name the board or its cable."""
    loader_hint: ClassVar[str] = ""
    """Instructions to write the flash memory of a board that openFPGALoader does not know."""
    dfu_is_linear: ClassVar[bool] = False
    """True if DFU writes the whole flash memory from its first byte on, and so a model too."""
    ready_made: ClassVar[bool] = False
    """True if its released bitstream is small enough to travel with the package."""
    usb: ClassVar[tuple[int, int] | None] = None
    """Vendor and product of the bridge to USB, by which a computer knows the board."""

    # Data of a family.
    toolchain: ClassVar[Toolchain]
    device: ClassVar[Device]
    max_hz: ClassVar[int]
    max_hz_reason: ClassVar[str]
    configuration_hz: ClassVar[float]
    """Rate at which the part reads bits of its bitstream from flash memory, one at a time."""
    reset_seconds: ClassVar[float]
    """Seconds for which memories of the part may not be read after configuration, with a margin."""

    top = "trilight"
    rx_pin = "uart_0__rx__io"
    tx_pin = "uart_0__tx__io"

    def __init__(self, *, frequency: float | None = None, baud: float | None = None,
                 device: Device | None = None,
                 chip: Callable[..., Any] = _default_chip) -> None:
        wanted = self.default_hz if frequency is None else frequency
        if not wanted * (1 + self.clock_tolerance) <= self.max_hz:
            raise BoardError(f"the clock may be at most {self._max_hz() / 1e6:g} MHz, "
                             f"{self.max_hz_reason}, not {wanted / 1e6:g} MHz")
        if baud is not None and not baud > 0:
            raise BoardError(f"the serial speed has to be positive, not {baud:g} baud")
        self.pll = self._choose_clock(wanted)
        self.clock_hz = self._made_hz(wanted)
        self.clocks_per_bit = self._choose_bit(self.default_baud if baud is None else baud)
        self.baud = self.clock_hz / self.clocks_per_bit
        self.device_config = self.device if device is None else device
        self._check_capacity(self.device_config)
        self._chip = chip

    def _max_hz(self) -> float:
        return self.max_hz / (1 + self.clock_tolerance)

    def _choose_bit(self, baud: float | None) -> int:
        """Return cycles per bit for a serial speed."""
        if baud is None:
            return max(MIN_CLOCKS_PER_BIT, math.ceil(self.clock_hz / self.max_baud))
        clocks = max(MIN_CLOCKS_PER_BIT, round(self.clock_hz / baud))
        made = self.clock_hz / clocks
        if abs(made - baud) > BAUD_TOLERANCE * baud:
            raise BoardError(
                f"{baud:,.0f} baud can not be made from {self.clock_hz / 1e6:g} MHz, which gives "
                f"{made:,.0f} at {clocks} clocks per bit; the fastest is "
                f"{self.clock_hz / MIN_CLOCKS_PER_BIT:,.0f}")
        if made > self.max_baud * (1 + BAUD_TOLERANCE):
            raise BoardError(
                f"the USB bridge of {self.name} passes at most {self.max_baud:,} baud, not "
                f"{baud:,.0f}; leave out the serial speed for the fastest that both can do")
        return clocks

    # What a family supplies.

    def _choose_clock(self, frequency: float) -> Pll | None:
        """Return the PLL's settings for a frequency; ``None`` if none is needed."""
        raise AssertionError(f"the family of {self.name} makes no clock")

    def _made_hz(self, frequency: float) -> int:
        """Return the frequency that the part makes when ``frequency`` is asked for."""
        return round(frequency if self.pll is None else self.pll.output_hz)

    def _check_capacity(self, device: Device) -> None:
        """Refuse more than the part has room for."""

    def bitstream_problem(self, data: bytes) -> str | None:
        """Say why a file is none for this board's part, after its name; ``None`` if it may."""
        raise AssertionError(f"the family of {self.name} has no bitstreams")

    def make_clock(self, m: Module, platform: Any, clock: Signal, locked: Signal,
                   ) -> ClockStop | None:
        """Drive ``clock``, and ``locked`` once it is steady.

        Return what stops it, whose ``line`` and ``busy`` are left to drive, if something does.
        """
        raise AssertionError(f"the family of {self.name} makes no clock")

    def connect_outside(self, m: Module, platform: Any, pins: Any) -> None:
        """Connect the chip's ``outside`` to the memory on the board."""
        raise BoardError(f"{self.name} has no memory outside its FPGA that weights could stream "
                         "from; use a device that keeps them on the chip")

    def make_flash_clock(self, m: Module, flash: Any, level: Value) -> None:
        """Drive the clock of the flash memory, whose pin is ``flash.clk``."""
        m.submodules.clk = out = io.Buffer(io.Direction.Output, flash.clk)
        m.d.comb += out.o.eq(level)

    def flashed_bytes(self, data: bytes) -> int:
        """Return how many bytes of the flash memory a bitstream takes."""
        return len(data)

    # What a build asks.

    @property
    def clock_tolerance(self) -> float:
        """Share by which the clock may be faster or slower; a crystal's is left out."""
        return 0.0

    @property
    def oscillator_hz(self) -> int:
        """Frequency at the clock pin; of the chip if there is none."""
        return self.clock_hz if self.oscillator is None else self.oscillator.hz

    @property
    def can_stop_clock(self) -> bool:
        """True if a build of the board may stop its clock while nothing runs."""
        return False

    @property
    def clock_pin(self) -> str:
        """Port of the design that takes the clock; empty for the part's own oscillator."""
        return "" if self.oscillator is None else f"{self.oscillator.resource}_0__io"

    @property
    def clock_source(self) -> str:
        """Source of the clock, as part of a sentence."""
        if self.oscillator is None:
            return f"internal oscillator, {100 * self.clock_tolerance:g} % more or less"
        source = f"{self.oscillator.hz / 1e6:g} MHz oscillator of the board"
        return source if self.pll is None else f"PLL on the {source}"

    @property
    def flash_pins(self) -> Mapping[str, str]:
        """Ports of the design at the flash memory that it boots from, by their line; or none."""
        if self.flash is None:
            return {}
        return {line: f"{self.flash}_0__{line}__io" for line in ("cs", "clk", "copi", "cipo")}

    @property
    def terminal_device(self) -> Device:
        """Sizes of a chip with a terminal."""
        return replace(self.device, terminal=True)

    @property
    def flash_slots(self) -> int:
        """Slots that the chip can boot from."""
        if self.flash is None:
            return 0
        return 1 if self.slot_button is None else FLASH_SLOTS

    def base_platform(self) -> Any:
        """Return the Amaranth platform of the board; a board says which."""
        raise AssertionError(f"{self.name} names no platform")

    def platform(self) -> Any:
        """Return the platform, with the resources that it lacks."""
        platform = self.base_platform()
        platform.add_resources(self.extra_resources)
        return platform

    def design(self, build_id: int) -> Elaboratable:
        """Return the whole design: clock, reset, pins, and a chip that reports ``build_id``."""
        boot = {} if self.flash is None else {"boots": True, "flash_offset": self.flash_offset}
        return _Top(self, self._chip(
            device=self.device_config, clock_hz=self.clock_hz,
            clocks_per_bit=self.clocks_per_bit, build_id=build_id, **boot))


class BlockRamBoard(FamilyBoard):
    """A board that keeps weights in block RAM, and whose clock pin feeds a PLL of its part."""

    platform_class: ClassVar[Any]
    """Amaranth platform of the board."""
    pll_settings: ClassVar[type[FeedbackPll]]
    """Settings of the family's PLL, which ``choose`` finds."""

    def base_platform(self) -> Any:
        return self.platform_class()

    def _choose_clock(self, frequency: float) -> FeedbackPll | None:
        assert self.oscillator is not None, "every board of the family brings a clock"
        if frequency == self.oscillator.hz:
            return None
        return self.pll_settings.choose(self.oscillator.hz, frequency)

    def _check_capacity(self, device: Device) -> None:
        if device.weight_words > self.device.weight_words:
            raise BoardError(f"{self.part} has block RAM for {self.device.weight_words:,} weight "
                             f"words beside the chip's other memories, not {device.weight_words:,}")

    def make_clock(self, m: Module, platform: Any, clock: Signal, locked: Signal) -> None:
        assert self.oscillator is not None, "every board of the family brings a clock"
        m.submodules.clock_buffer = buffer = io.Buffer(
            io.Direction.Input, platform.request(self.oscillator.resource, dir="-"))
        if self.pll is None:
            m.d.comb += [clock.eq(buffer.i), locked.eq(1)]
        else:
            m.submodules.pll = self.make_pll(buffer.i, clock, locked)

    def make_pll(self, reference: Signal, clock: Signal, locked: Signal) -> Instance:
        """Return the family's PLL, set as ``pll`` says."""
        raise AssertionError(f"the family of {self.name} has no PLL")


class _Top(Elaboratable):
    def __init__(self, board: FamilyBoard, chip: Any) -> None:
        self._board = board
        self._chip = chip

    def elaborate(self, platform: Any) -> Module:
        board = self._board
        m = Module()

        clock = Signal()
        locked = Signal()
        stop = board.make_clock(m, platform, clock, locked)

        m.domains += [ClockDomain("sync"), ClockDomain("por", reset_less=True, local=True)]
        m.d.comb += [ClockSignal("sync").eq(clock), ClockSignal("por").eq(clock)]
        locked_por = Signal()
        m.submodules.locked = FFSynchronizer(locked, locked_por, o_domain="por")
        timer = Signal(math.ceil(math.log2(board.reset_seconds * board.clock_hz)) + 1)
        with m.If(~locked_por):
            m.d.por += timer.eq(0)
        with m.Elif(~timer[-1]):
            m.d.por += timer.eq(timer + 1)
        m.d.comb += ResetSignal("sync").eq(~timer[-1])

        m.submodules.chip = chip = self._chip
        # Some have handshake lines too, which are left alone.
        lines = [line.name for line in platform.lookup("uart").ios]
        uart = platform.request("uart", dir=dict.fromkeys(lines, "-"))
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
        if stop is not None:
            trace_stopped = Signal(attrs={"keep": 1})
            m.d.comb += [
                stop.line.eq(rx.i),
                stop.busy.eq(self._busy()),
                trace_stopped.eq(stop.stopped),
            ]
        levels: dict[str, Value] = {name: Const(level) for name, level in board.held.items()}
        levels |= {name: chip.running for name in (board.led, board.busy) if name is not None}
        # An echo in the chip's place has no such pins.
        if "outside" in chip.signature.members:
            board.connect_outside(m, platform, chip.outside)
        if board.flash is not None and "flash" in chip.signature.members:
            self._add_flash(m, platform)
            lamp = board.damage_led or board.led
            if lamp is not None:
                levels[lamp] = levels.get(lamp, Const(0)) | chip.damaged
        if levels:
            m.submodules.pins = pins = Module()
            for name, level in levels.items():
                pins.submodules[name] = pin = io.Buffer(
                    io.Direction.Output, platform.request(name, dir="-"))
                pins.d.comb += pin.o.eq(level)
        return m

    def _busy(self) -> Value:
        """Something is done by the chip, or will be without a word from the host."""
        chip = self._chip
        busy: Value = chip.running | chip.checking | ~chip.tx
        return busy | chip.flash.cs if "flash" in chip.signature.members else busy

    def _add_flash(self, m: Module, platform: Any) -> None:
        """Add the pins of the flash memory, and the button that chooses a slot."""
        board, pins = self._board, self._chip.flash
        lines = [line.name for line in platform.lookup(board.flash).ios]
        flash = platform.request(board.flash, dir=dict.fromkeys(lines, "-"))
        m.submodules.flash = buffers = Module()

        def out(name: str, level: Value) -> None:
            buffers.submodules[name] = pin = io.Buffer(io.Direction.Output, getattr(flash, name))
            buffers.d.comb += pin.o.eq(level)

        out("cs", pins.cs)
        board.make_flash_clock(buffers, flash, pins.sck)
        out("copi", pins.mosi)
        for name in ("wp", "hold"):
            if board.flash_holds and name in lines:
                out(name, Const(0))
        buffers.submodules.cipo = cipo = io.Buffer(io.Direction.Input, flash.cipo)
        m.d.comb += pins.miso.eq(cipo.i)
        if board.slot_button is not None:
            buffers.submodules.button = button = io.Buffer(
                io.Direction.Input, platform.request(board.slot_button, dir="-"))
            m.submodules.slot = FFSynchronizer(button.i, pins.slot)
