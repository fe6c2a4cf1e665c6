"""Proofs about the line: UART, SLIP and frames."""

from trilight.hw.contract.protocol import CRC_BYTES

from .harness import Harness, count_while
from .prover import Proof
from .variant import Edit, Gateware

__all__ = ["PROOFS"]

CLOCKS_PER_BIT = 4
"""The least, and that of the released build."""

BYTE_CYCLES = 10 * CLOCKS_PER_BIT

MAX_WAIT = 2
"""Cycles for which what comes after a block may keep it waiting, in proofs about its progress. The
line takes longer, but a block that waits does nothing else."""

RECOVERY = 4
"""Cycles from a delimiter to a receiver that is as after a reset."""

LINE_BYTES = 2 + 2 * CRC_BYTES + 4
"""Bytes that a frame's sender may have to hand on before it takes the next one: one that waits with
its escape, those of a CRC with theirs, an END, the next frame's END, and the first byte with its
escape."""


def _transmitter_takes(gateware: Gateware) -> Harness:
    uart = gateware.module("lib.uart").UARTTransmitter(clocks_per_bit=CLOCKS_PER_BIT)
    h = Harness(uart, gateware)
    h.claim(count_while(h, ~uart.i.ready, BYTE_CYCLES + 1, "busy") <= BYTE_CYCLES)
    return h


def _receiver_recovers(gateware: Gateware) -> Harness:
    uart = gateware.module("lib.uart").UARTReceiver(clocks_per_bit=CLOCKS_PER_BIT)
    h = Harness(uart, gateware)
    high = count_while(h, uart.rx, BYTE_CYCLES, "high")
    h.claim((high != BYTE_CYCLES) | (h.signal("fsm_state") == 0))
    return h


def _encoder_keeps(gateware: Gateware) -> Harness:
    encoder = gateware.module("lib.slip").SlipEncoder()
    h = Harness(encoder, gateware)
    h.assume_stream(encoder.i)
    h.claim_stream(encoder.o)
    return h


def _encoder_takes(gateware: Gateware) -> Harness:
    encoder = gateware.module("lib.slip").SlipEncoder()
    h = Harness(encoder, gateware)
    h.assume_stream(encoder.i)
    h.answers_within(encoder.o.valid, encoder.o.ready, MAX_WAIT, "patience")
    maximum = 2 * (MAX_WAIT + 1) + 1
    waits = count_while(h, encoder.i.valid & ~encoder.i.ready, maximum + 1, "waits")
    h.claim(waits <= maximum)
    return h


def _sender_keeps(gateware: Gateware) -> Harness:
    sender = gateware.module("lib.frames").FrameSender()
    h = Harness(sender, gateware)
    h.assume_offered(sender.i)
    h.claim_stream(sender.o)
    h.claim_stream(h.block("slip").i)
    return h


def _sender_takes(gateware: Gateware) -> Harness:
    sender = gateware.module("lib.frames").FrameSender()
    h = Harness(sender, gateware)
    h.assume_offered(sender.i)
    h.answers_within(sender.o.valid, sender.o.ready, MAX_WAIT, "patience")
    maximum = LINE_BYTES * (MAX_WAIT + 3)
    busy = count_while(h, ~sender.i.ready, maximum + 1, "busy")
    h.claim(busy <= maximum)
    return h


def _frame_receiver_recovers(gateware: Gateware) -> Harness:
    slip = gateware.module("contract.protocol").Slip
    receiver = gateware.module("lib.frames").FrameReceiver(origin=0)
    h = Harness(receiver, gateware)
    # A delimiter ends whatever was under way, and then the line rests for a few cycles, as it does:
    # a byte takes ten bit times.
    since = count_while(h, h.started, RECOVERY + 1, "since")
    h.assume(receiver.i.valid == (since == 0))
    h.assume(receiver.i.payload == slip.END)
    h.assume(~receiver.error)
    h.assume(receiver.release == receiver.good)
    decoder = h.block("slip")
    h.claim((since < RECOVERY) | (
        ~h.signal("slip.escaped") & ~decoder.bad & ~receiver.too_long
        & ~h.signal("long_enough") & (h.signal("crc") == gateware.module("lib.crc").CRC_INIT)
        & (receiver.count == 0) & ~receiver.write & ~receiver.good))
    return h


PROOFS = [
    Proof(name="uart_transmitter.takes", build=_transmitter_takes, method="every state",
          depth=BYTE_CYCLES + 3,
          claim="From any state it takes a byte within the time of one.",
          fault=Edit("lib/uart.py", "waits.eq(0),\n", "waits.eq(waits & ~byte[0]),\n")),
    Proof(name="uart_receiver.recovers", build=_receiver_recovers, method="every state",
          depth=BYTE_CYCLES + 3,
          claim="From any state it waits for a start bit once the line has been high for the time "
                "of a byte.",
          fault=Edit("lib/uart.py", """                with m.If(self.rx):
                    m.next = "IDLE"
        return""", """                with m.If(~self.rx):
                    m.next = "IDLE"
        return""")),
    Proof(name="slip_encoder.keeps", build=_encoder_keeps, method="induction", depth=3,
          claim="Its stream keeps what is valid until it is taken.",
          fault=Edit("lib/slip.py", "looked.eq(self.i.valid & ~self.i.ready)",
                     "looked.eq(self.i.valid & ~looked)")),
    Proof(name="slip_encoder.takes", build=_encoder_takes, method="every state",
          depth=2 * (MAX_WAIT + 1) + 4,
          claim="From any state it takes an item once two bytes have been taken from it.",
          fault=Edit("lib/slip.py", "second.eq(special & ~second)", "second.eq(special & second)")),
    Proof(name="frame_sender.keeps", build=_sender_keeps, method="induction", depth=4,
          claim="Its stream, and the one within, keep what is valid until it is taken.",
          fault=Edit("lib/frames.py", """                with m.If(~full):
                    m.d.sync += [full.eq(1), item.data.eq(~crc[:8]), more""",
                     """                with m.If(1):
                    m.d.sync += [full.eq(1), item.data.eq(~crc[:8]), more"""), shows=24),
    Proof(name="frame_sender.takes", build=_sender_takes, method="every state",
          depth=LINE_BYTES * (MAX_WAIT + 3) + 3,
          claim=f"From any state it takes an item once {LINE_BYTES} bytes have been taken from it.",
          fault=Edit("lib/frames.py", """item.end.eq(1)]
                    m.next = "OPEN\"""", """item.end.eq(1)]
                    m.next = "CLOSE\"""")),
    Proof(name="frame_receiver.recovers", build=_frame_receiver_recovers, method="every state",
          depth=RECOVERY + 4,
          claim="From any state it is ready for a frame after a delimiter.",
          fault=Edit("lib/frames.py", "crc.eq(CRC_INIT), long_enough.eq(0), self.too_long.eq(0)",
                     "crc.eq(CRC_INIT), long_enough.eq(0)")),
]
