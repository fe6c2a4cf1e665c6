"""Designs whose power tells the coefficients of the power model, for an iCEBreaker.

Two kinds: equivalents of the designs whose currents on a UP5K are published, which the model is
checked against, and designs for a board of one's own, each with much of one thing and little of
the rest. All run from power-on, without serial port; the latter hold their pins still. See
``docs/power.md``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from amaranth.hdl import (
    Cat,
    ClockDomain,
    ClockSignal,
    Const,
    Elaboratable,
    Instance,
    Module,
    Mux,
    Signal,
    Value,
    signed,
)
from amaranth.lib import io
from amaranth.lib.memory import Memory
from amaranth_boards.icebreaker import ICEBreakerPlatform

from trilight.hw.contract.errors import BoardError
from trilight.hw.lib.arith import Multiplier

from .families.up5k import UP5KBoard
from .icebreaker import Icebreaker

__all__ = ["DESIGNS", "OSCILLATORS_HZ", "PUBLISHED", "CalibrationBoard", "CalibrationDesign",
           "all_boards", "calibration_board", "calibration_boards", "lfsr_taps", "published_boards"]

PIN_HZ = 12_000_000

OSCILLATORS_HZ = {48_000_000: "0b00", 24_000_000: "0b01", 12_000_000: "0b10", 6_000_000: "0b11"}
"""Frequencies of the internal oscillator, to within 10 %, and their setting."""

SPRAM_WORDS = 1 << 14


def _counter(m: Module, name: str, bits: int, step: int = 1) -> Signal:
    count = Signal(bits, name=name, reset_less=True)
    m.d.sync += count.eq(count + step)
    return count


def lfsr_taps(bits: int) -> tuple[int, ...]:
    """Exponents of a primitive trinomial or pentanomial of degree ``bits`` below the highest.

    From the table of Xilinx' application note XAPP 052.
    """
    return {64: (63, 61, 60), 128: (126, 101, 99)}[bits]


def _lfsr(m: Module, bits: int) -> Signal:
    """A shift register whose feedback makes it go through all states but one."""
    state = Signal(bits, name="lfsr", init=1, reset_less=True)
    feedback = state[bits - 1]
    for tap in lfsr_taps(bits):
        feedback = feedback ^ state[tap - 1]
    m.d.sync += state.eq(Cat(feedback, state[:-1]))
    return state


def counter(m: Module, *, bits: int) -> Value:
    """A counter, of which the highest bit leaves."""
    return _counter(m, "count", bits)[-1]


def product(m: Module, *, dsp: bool) -> Value:
    """A counter, and two more whose product is made in each cycle.

    The published one ands the product's bits; Yosys finds that 255 * 255 is not all ones.
    """
    count = _counter(m, "count", 24)
    a = _counter(m, "a", 8, 3)
    b = _counter(m, "b", 8, 5)
    result = Signal(16)
    if dsp:
        m.d.comb += result.eq(a * b)
    else:
        m.d.comb += result.eq(sum(((a & bit.replicate(8)) << k for k, bit in enumerate(b)),
                                  start=Const(0)))
    return count[-1] | a.all() | b.all() | result.xor()


def flip_flops(m: Module, *, number: int, enable: Value) -> Value:
    """A shift register that stands still unless a button is held down."""
    chain = Signal(number, name="chain", reset_less=True)
    with m.If(enable):
        m.d.sync += chain.eq(Cat(~chain[-1], chain[:-1]))
    return chain[-1]


def trees(m: Module, *, number: int) -> Value:
    """Adder trees over random activations times random trits, into accumulators."""
    state = _lfsr(m, 128)
    lanes = 8
    outputs = []
    for copy in range(number):
        # Neighbours of a shift register are copies of each other: take distant bits.
        bits = [state[(7 * copy + 37 * k) % len(state)] for k in range(lanes * 10)]
        terms: list[Value] = []
        for lane in range(lanes):
            activation, nonzero, minus = (Cat(bits[10 * lane:10 * lane + 8]),
                                          bits[10 * lane + 8], bits[10 * lane + 9])
            term = Signal(signed(9), name=f"term_{copy}_{lane}", reset_less=True)
            value = activation.as_signed()
            m.d.sync += term.eq(Mux(nonzero, Mux(minus, -value, value), 0))
            terms.append(term)
        while len(terms) > 1:
            pairs = list(zip(terms[::2], terms[1::2], strict=True))
            terms = []
            for k, (left, right) in enumerate(pairs):
                total = Signal(signed(len(left) + 1), name=f"sum_{copy}_{len(pairs)}_{k}",
                               reset_less=True)
                m.d.sync += total.eq(left + right)
                terms.append(total)
        accumulator = Signal(signed(16), name=f"accumulator_{copy}", reset_less=True)
        m.d.sync += accumulator.eq(accumulator + terms[0])
        outputs.append(accumulator.xor())
    return Cat(outputs).xor()


def memories(m: Module, *, ebrs: int, sprams: int) -> Value:
    """Block RAMs and SPRAMs that are read in every cycle, at random addresses.

    The SPRAMs are filled with random words first, in the first ``SPRAM_WORDS`` cycles.
    """
    state = _lfsr(m, 64)
    outputs = []
    for k in range(ebrs):
        content = [(0x9E3779B1 * (257 * k + row + 1) >> 8) & 0xFFFF for row in range(256)]
        memory = Memory(shape=16, depth=256, init=content)
        m.submodules[f"ebr_{k}"] = memory
        port = memory.read_port()
        m.d.comb += port.addr.eq(Cat(state[(5 * k + 11 * bit) % 64] for bit in range(8)))
        outputs.append(port.data)
    if sprams:
        address = Signal(range(SPRAM_WORDS + 1), name="fill", reset_less=True)
        filling = ~address[-1]
        with m.If(filling):
            m.d.sync += address.eq(address + 1)
        for k in range(sprams):
            word = Signal(16, name=f"word_{k}")
            m.submodules[f"spram_{k}"] = Instance(
                "SB_SPRAM256KA",
                i_CLOCK=ClockSignal(),
                i_ADDRESS=Mux(filling, address[:-1],
                              Cat(state[(13 * k + 7 * bit) % 64] for bit in range(14))),
                i_DATAIN=Cat(state[(9 * k + 3 * bit) % 64] for bit in range(16)),
                o_DATAOUT=word,
                i_WREN=filling,
                i_MASKWREN=Const(0b1111, 4),
                i_CHIPSELECT=Const(1),
                i_STANDBY=Const(0),
                i_SLEEP=Const(0),
                i_POWEROFF=Const(1),  # active low
            )
            outputs.append(word)
    folded = Signal(16, reset_less=True)
    total: Value = Const(0, 16)
    for output in outputs:
        total = total ^ output
    m.d.sync += folded.eq(total)
    return folded.xor()


def products(m: Module, *, number: int) -> Value:
    """Multiplications of random numbers in DSP cells, registered as the accelerator's are."""
    state = _lfsr(m, 128)
    # Not into registers of its own: Yosys 0.70 would take those for the multiplier's.
    outputs = []
    for k in range(number):
        m.submodules[f"multiplier_{k}"] = multiplier = Multiplier(a_width=16, b_width=16)
        m.d.comb += [
            multiplier.a.eq(Cat(state[(29 * k + 5 * bit) % 128] for bit in range(16))),
            multiplier.b.eq(Cat(state[(29 * k + 5 * bit + 83) % 128] for bit in range(16))),
        ]
        outputs.append(multiplier.p)
    return Cat(outputs).xor()


@dataclass(frozen=True, kw_only=True)
class CalibrationDesign:
    """A design, by the function that makes its logic.

    ``settle`` is the number of cycles after which it does the same on average, ``length`` the
    number over which to count.
    """

    logic: Callable[..., Value]
    parameters: dict[str, Any]
    settle: int = 64
    length: int = 1 << 16
    button: bool = False
    """True if its logic has an ``enable``, which is a button."""


PUBLISHED = {
    **{f"counter-{bits}": CalibrationDesign(logic=counter, parameters={"bits": bits})
       for bits in (24, 28, 56, 112, 224)},
    "product-logic": CalibrationDesign(logic=product, parameters={"dsp": False}),
    "product-dsp": CalibrationDesign(logic=product, parameters={"dsp": True}),
}
"""Equivalents of the designs whose currents are published."""

DESIGNS = {
    **{
        f"ff-{n}": CalibrationDesign(logic=flip_flops, parameters={"number": n}, button=True)
        for n in (64, 2048)
    },
    **{
        f"tree-{n}": CalibrationDesign(logic=trees, parameters={"number": n}, settle=256)
        for n in (1, 6)
    },
    **{
        f"ebr-{ebrs}-spram-{sprams}": CalibrationDesign(
            logic=memories, parameters={"ebrs": ebrs, "sprams": sprams}, settle=SPRAM_WORDS + 64
        )
        for ebrs, sprams in ((8, 0), (8, 1), (8, 4), (24, 0))
    },
    **{
        f"dsp-{n}": CalibrationDesign(logic=products, parameters={"number": n}, settle=256)
        for n in (1, 6)
    },
}
"""Designs to calibrate a board with."""

CALIBRATION_HZ = (48_000_000, 24_000_000, 12_000_000)


class CalibrationBoard:
    """A design on an iCEBreaker, clocked by the internal oscillator or by the clock pin.

    Parameters
    ----------
    name : str
        Of the design, in ``DESIGNS`` or ``PUBLISHED``.
    clock_hz : int
        One of ``OSCILLATORS_HZ``, or the pin's 12 MHz.
    hfosc : bool
        Whether the clock is the internal oscillator's.

    Raises
    ------
    BoardError
        There is no such design, or no such clock.
    """

    top = "calibration"
    part = UP5KBoard.part
    part_options = UP5KBoard.part_options
    toolchain = UP5KBoard.toolchain
    device_config = UP5KBoard.device
    loader = Icebreaker.loader
    loader_hint = Icebreaker.loader_hint
    tx_pin = ""
    clocks_per_bit = 4
    baud = 0.0
    pll = None
    flash_pins = MappingProxyType[str, str]({})

    def __init__(self, name: str, clock_hz: int = PIN_HZ, *, hfosc: bool = True) -> None:
        designs = PUBLISHED | DESIGNS
        if name not in designs:
            raise BoardError(f"there is no calibration design {name!r}; there is "
                             f"{', '.join(designs)}")
        if clock_hz not in (OSCILLATORS_HZ if hfosc else (PIN_HZ,)):
            raise BoardError(
                f"the internal oscillator makes {', '.join(map(str, OSCILLATORS_HZ))} Hz and the "
                f"clock pin {PIN_HZ}, not {clock_hz}")
        self.name = f"{name}@{clock_hz // 1_000_000}MHz"
        self.design_name = name
        self.chosen = designs[name]
        self.published = name in PUBLISHED
        self.clock_hz = clock_hz
        self.hfosc = hfosc
        # Metered at the clock that it has, whatever that is.
        self.clock_tolerance = 0.0
        self.oscillator_hz = PIN_HZ
        self.can_stop_clock = False
        self.clock_pin = "" if hfosc else "clk12_0__io"
        # A simulated receive pin rests at 1, as does the button, which is 0 while held down.
        self.rx_pin = "button_0__io" if self.chosen.button else ""

    @property
    def clock_source(self) -> str:
        """Source of the clock, as part of a sentence."""
        return "internal oscillator" if self.hfosc else "12 MHz oscillator of the board"

    def bitstream_problem(self, data: bytes) -> str | None:
        """See ``UP5KBoard``."""
        return Icebreaker().bitstream_problem(data)

    def platform(self) -> ICEBreakerPlatform:
        return ICEBreakerPlatform()

    def design(self, build_id: int) -> Elaboratable:
        """Return the whole design; it has no identity to report."""
        return _Top(self)


class _Top(Elaboratable):
    def __init__(self, board: CalibrationBoard) -> None:
        self._board = board

    def elaborate(self, platform: Any) -> Module:
        board = self._board
        m = Module()
        clock = Signal()
        m.domains += ClockDomain("sync", reset_less=True)
        m.d.comb += ClockSignal("sync").eq(clock)
        if board.hfosc:
            m.submodules.oscillator = Instance(
                "SB_HFOSC", p_CLKHF_DIV=OSCILLATORS_HZ[board.clock_hz],
                i_CLKHFPU=1, i_CLKHFEN=1, o_CLKHF=clock)
        else:
            m.submodules.clock_buffer = buffer = io.Buffer(
                io.Direction.Input, platform.request("clk12", dir="-"))
            m.d.comb += clock.eq(buffer.i)
        parameters = dict(board.chosen.parameters)
        if board.chosen.button:
            m.submodules.button = button = io.Buffer(
                io.Direction.Input, platform.request("button", dir="-"))
            parameters["enable"] = button.i
        result = board.chosen.logic(m, **parameters)
        if board.published:
            m.submodules.led = led = io.Buffer(
                io.Direction.Output, platform.request("led", dir="-"))
            m.d.comb += led.o.eq(result)
        else:
            # Kept without a pin, because a pin that changes takes power of its own.
            kept = Signal(attrs={"keep": 1}, reset_less=True)
            m.d.sync += kept.eq(result)
        return m


def calibration_board(name: str) -> CalibrationBoard:
    """Return a calibration design with its clock, by a name such as ``ff-64@48MHz``.

    Raises
    ------
    BoardError
        There is no such design, or no such clock.
    """
    design, _, mhz = name.partition("@")
    digits = mhz.removesuffix("MHz")
    return CalibrationBoard(design, int(digits) * 1_000_000 if digits.isdigit() else 0)


def calibration_boards() -> Sequence[CalibrationBoard]:
    """Every calibration design at every clock, in the order in which to measure them."""
    return [CalibrationBoard(name, clock_hz) for name in DESIGNS for clock_hz in CALIBRATION_HZ]


def published_boards() -> Sequence[CalibrationBoard]:
    """Equivalents of the designs whose currents are published, each on the clock it had."""
    return [CalibrationBoard(name, hfosc=not name.startswith("counter-") or name == "counter-24")
            for name in PUBLISHED]


def all_boards() -> Sequence[CalibrationBoard]:
    """Every design of this file, on its clocks."""
    return [*published_boards(), *calibration_boards()]
