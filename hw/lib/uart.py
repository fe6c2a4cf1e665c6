"""Bytes on a wire: 8N1 receiver and transmitter of a fixed rate."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["MIN_CLOCKS_PER_BIT", "UARTReceiver", "UARTTransmitter", "check_clocks_per_bit"]

MIN_CLOCKS_PER_BIT = 4
"""Fewest cycles of a bit in which its middle is found."""

DATA_BITS = 8


def check_clocks_per_bit(clocks_per_bit: int) -> int:
    """Return ``clocks_per_bit``, or raise ``TypeError`` or ``ValueError``."""
    if not isinstance(clocks_per_bit, int):
        raise TypeError(f"clocks_per_bit must be an integer, not {clocks_per_bit!r}")
    if clocks_per_bit < MIN_CLOCKS_PER_BIT:
        raise ValueError(
            f"clocks_per_bit must be at least {MIN_CLOCKS_PER_BIT}, not {clocks_per_bit}")
    return clocks_per_bit


class UARTReceiver(wiring.Component):
    """Receiver of bytes on a serial line, least significant bit first.

    A byte appears in the middle of its stop bit, and the next start bit may follow at once. With 4
    clocks per bit the sender may be up to 2 % slower or faster.

    Parameters
    ----------
    clocks_per_bit : int
        At least 4.

    Members
    -------
    rx : In(1)
        The line, synchronous.
    o : Out(stream of 8, always ready)
    error : Out(1)
        Pulse instead of a byte: its stop bit was low. The line must be high before the next byte.
    """

    rx: Signal
    o: stream.Interface
    error: Signal

    def __init__(self, *, clocks_per_bit: int) -> None:
        self._clocks_per_bit = check_clocks_per_bit(clocks_per_bit)
        super().__init__({
            "rx": In(1, init=1),
            "o": Out(stream.Signature(DATA_BITS, always_ready=True)),
            "error": Out(1),
        })

    @property
    def clocks_per_bit(self) -> int:
        """Cycles of a bit."""
        return self._clocks_per_bit

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # A one travels ahead of the data and is in bit 0 when all of them have been shifted in.
        shift = Signal(DATA_BITS + 1, reset_less=True)
        last = self._clocks_per_bit - 1
        timer = Signal(range(last + 1), reset_less=True)
        tick = timer == 0
        m.d.comb += self.o.payload.eq(shift[1:])
        m.d.sync += timer.eq(timer - 1)
        with m.If(tick):
            m.d.sync += timer.eq(last)

        with m.FSM():
            with m.State("IDLE"):
                # The edge lies up to a cycle back, and the next state is a cycle ahead.
                m.d.sync += timer.eq((last - 2) // 2)
                with m.If(~self.rx):
                    m.next = "START"

            with m.State("START"):
                m.d.sync += shift.eq(1 << DATA_BITS)
                with m.If(tick):
                    m.next = "DATA"
                    with m.If(self.rx):
                        m.next = "IDLE"

            with m.State("DATA"):
                with m.If(tick):
                    m.d.sync += shift.eq(Cat(shift[1:], self.rx))
                    with m.If(shift[0]):
                        m.d.comb += [self.o.valid.eq(self.rx), self.error.eq(~self.rx)]
                        m.next = "IDLE"
                        with m.If(~self.rx):
                            m.next = "BREAK"

            with m.State("BREAK"):
                with m.If(self.rx):
                    m.next = "IDLE"
        return m


class UARTTransmitter(wiring.Component):
    """Transmitter of bytes on a serial line, least significant bit first.

    A byte takes ``10 * clocks_per_bit`` cycles, and bytes follow each other without a gap.

    Parameters
    ----------
    clocks_per_bit : int
        At least 4.

    Members
    -------
    i : In(stream of 8)
    tx : Out(1)
        The line; from a register, without glitches.
    """

    i: stream.Interface
    tx: Signal

    def __init__(self, *, clocks_per_bit: int) -> None:
        self._clocks_per_bit = check_clocks_per_bit(clocks_per_bit)
        super().__init__({"i": In(stream.Signature(DATA_BITS)), "tx": Out(1, init=1)})

    @property
    def clocks_per_bit(self) -> int:
        """Cycles of a bit."""
        return self._clocks_per_bit

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Nothing but the stop bit is left when the upper bits are zero; it stays while idle.
        frame = Signal(DATA_BITS + 2, init=1)
        last = self._clocks_per_bit - 1
        timer = Signal(range(last + 1))
        # A byte waits here while the one before is sent, so that ``ready`` needs no logic.
        byte = Signal(DATA_BITS, reset_less=True)
        waits = Signal()
        m.d.comb += [self.tx.eq(frame[0]), self.i.ready.eq(~waits)]
        with m.If(~waits):
            m.d.sync += [byte.eq(self.i.payload), waits.eq(self.i.valid)]
        with m.If(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Elif(frame[1:].any()):
            m.d.sync += [frame.eq(frame[1:]), timer.eq(last)]
        with m.Elif(waits):
            m.d.sync += [
                waits.eq(0),
                frame.eq(Cat(Const(0, 1), byte, Const(1, 1))),
                timer.eq(last),
            ]
        return m
