"""The device's end of the link: frames from the host to bus accesses, runs and answers."""

import struct
from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect

from trilight.hw.contract.device import Device
from trilight.hw.contract.protocol import (
    CRC_BYTES,
    IDENTITY,
    MAX_FRAME_BYTES,
    MAX_UNITS,
    MIN_FRAME_BYTES,
    NOTICE,
    PROTOCOL_MAGIC,
    PROTOCOL_VERSION,
    RESPONSE,
    RUN,
    SPACE_BITS,
    Command,
    Result,
    RunFlag,
    Space,
)
from trilight.hw.control.sequencer import NOTICE_LAYOUT, RUN_LAYOUT
from trilight.hw.lib.frames import FrameReceiver, FrameSender
from trilight.hw.lib.fsm import OneHotFSM
from trilight.hw.lib.uart import UARTReceiver, UARTTransmitter, check_clocks_per_bit

__all__ = ["Link"]

ADDRESS_BITS = 17
UNIT_BYTES = 2

HEADER_BYTES = MIN_FRAME_BYTES - CRC_BYTES

ADDRESS = struct.Struct("<HB")
"""A u24."""

READ = struct.Struct("<HBB")
"""Address and count."""

WRITE_BYTES = HEADER_BYTES + ADDRESS.size + CRC_BYTES
"""A WRITE without units."""

FRAME_LAYOUT = data.StructLayout({
    "sequence": 8,
    "command": 8,
    "payload": data.UnionLayout({
        "access": data.StructLayout({"address": ADDRESS_BITS, "beyond": 7, "count": 8}),
        "run": data.StructLayout({
            "flags": 8, "n_feed": 16, "n_generate": 16, "temperature": 16, "seed": 32}),
    }),
})
"""The first bytes of a frame from the host."""

STATUS_LAYOUT = data.StructLayout({
    "position_0": 16, "position_1": 16, "cycles": 32, "words": 32, "tokens": 32})
"""An answer to STATUS after ``running``."""


class Link(wiring.Component):
    """Executes the host's commands and announces tokens; ``docs/protocol.md`` is the contract.

    A frame's bytes wait in a buffer for its CRC. The answer begins at most 30 cycles after the
    frame's last bit, and 3 cycles more per unit of a WRITE or 1 per unit of a READ, unless a notice
    is being sent. The buffer is read faster than the next frame's bytes can overwrite it, so frames
    may follow each other without a gap; but one that ends before the answer to the one before has
    been handed to the line is dropped.

    Refusals have an order: BAD_COMMAND, BAD_LENGTH, BAD_ADDRESS, BUSY. A repeated RUN is
    acknowledged before all but the first two. A frame with sequence number 0 makes the link forget
    the last RUN.

    Parameters
    ----------
    device : Device
    clock_hz : int
        Reported by IDENTIFY.
    clocks_per_bit : int
        Cycles per UART bit, at least 4.
    build_id : int
        Reported by IDENTIFY; 32 bits.

    Members
    -------
    rx, tx : In(1), Out(1)
        Pins; ``rx`` may be asynchronous.
    bus_addr : Out(17)
    bus_data : Out(16)
    bus_write : Out(1)
        Pulse: write ``bus_data`` to unit ``bus_addr``. At most every other cycle.
    bus_read : Out(1)
        Pulse: read unit ``bus_addr``.
    bus_read_data : In(16)
    bus_read_valid : In(1)
        Pulse, one or more cycles after ``bus_read``.
    running : In(1)
    run : Out(stream of RUN_LAYOUT)
        An accepted RUN; one that comes while ``running`` is refused.
    stop : Out(1)
        Pulse.
    position_0, position_1, cycles, words, tokens : In
        For STATUS; taken in the same cycle as ``running``.
    notice_0, notice_1 : In(stream of NOTICE_LAYOUT)
        Tokens of a sequence to announce; taken when its last byte has been handed on.

    Raises
    ------
    ValueError
        The weight memory reaches into the other spaces, or a size does not fit ``IDENTITY``.
    """

    rx: Signal
    tx: Signal
    bus_addr: Signal
    bus_data: Signal
    bus_write: Signal
    bus_read: Signal
    bus_read_data: Signal
    bus_read_valid: Signal
    running: Signal
    run: stream.Interface
    stop: Signal
    position_0: Signal
    position_1: Signal
    cycles: Signal
    words: Signal
    tokens: Signal
    notice_0: stream.Interface
    notice_1: stream.Interface

    def __init__(self, *, device: Device, clock_hz: int, clocks_per_bit: int,
                 build_id: int = 0) -> None:
        self._weight_units = device.weight_words * device.packing.word_units
        if self._weight_units > Space.PROGRAM:
            raise ValueError(f"weight memory must hold at most {Space.PROGRAM} units, "
                             f"not {self._weight_units}")
        try:
            self._identity = IDENTITY.pack(
                PROTOCOL_MAGIC, PROTOCOL_VERSION, device.packing.block, clock_hz, clocks_per_bit,
                build_id, device.weight_words, device.max_rows, device.max_columns,
                device.max_channels, device.program_words, device.tape_tokens, device.max_vocab,
                device.sequences)
        except struct.error as error:
            raise ValueError(f"clock_hz={clock_hz}, clocks_per_bit={clocks_per_bit}, "
                             f"build_id={build_id} or {device} cannot be reported: {error}"
                             ) from error
        self._sequences = device.sequences
        self._clocks_per_bit = check_clocks_per_bit(clocks_per_bit)
        super().__init__({
            "rx": In(1, init=1),
            "tx": Out(1, init=1),
            "bus_addr": Out(ADDRESS_BITS),
            "bus_data": Out(8 * UNIT_BYTES),
            "bus_write": Out(1),
            "bus_read": Out(1),
            "bus_read_data": In(8 * UNIT_BYTES),
            "bus_read_valid": In(1),
            "running": In(1),
            "run": Out(stream.Signature(RUN_LAYOUT)),
            "stop": Out(1),
            "position_0": In(16),
            "position_1": In(16),
            "cycles": In(32),
            "words": In(32),
            "tokens": In(32),
            "notice_0": In(stream.Signature(NOTICE_LAYOUT)),
            "notice_1": In(stream.Signature(NOTICE_LAYOUT)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.uart_receiver = uart_receiver = UARTReceiver(
            clocks_per_bit=self._clocks_per_bit)
        m.submodules.uart_transmitter = uart_transmitter = UARTTransmitter(
            clocks_per_bit=self._clocks_per_bit)
        m.submodules.receiver = receiver = FrameReceiver(origin=WRITE_BYTES)
        m.submodules.sender = sender = FrameSender()
        m.submodules += FFSynchronizer(self.rx, uart_receiver.rx, init=1)
        connect(m, uart_receiver.o, receiver.i)
        connect(m, sender.o, uart_transmitter.i)
        m.d.comb += [
            receiver.error.eq(uart_receiver.error),
            self.tx.eq(uart_transmitter.tx),
        ]

        # ---- Buffer: the lower half holds a frame, and the upper half the identity, a byte further
        # on than a WRITE's units: an answer's header moves the pointer by two.
        start = -WRITE_BYTES % MAX_FRAME_BYTES
        units_start = start + HEADER_BYTES + ADDRESS.size
        rom = [0] * MAX_FRAME_BYTES
        for i, value in enumerate(self._identity, HEADER_BYTES - 1):
            rom[(units_start + i) % MAX_FRAME_BYTES] = value
        m.submodules.buffer = buffer = Memory(
            shape=unsigned(8), depth=2 * MAX_FRAME_BYTES, init=[0] * MAX_FRAME_BYTES + rom)
        write = buffer.write_port()
        read = buffer.read_port()
        byte = read.data
        pointer = Signal(range(MAX_FRAME_BYTES), reset_less=True)
        advance = read.en
        m.d.comb += [
            write.addr.eq(receiver.addr),
            write.data.eq(receiver.data),
            write.en.eq(receiver.write),
            read.addr.eq(pointer),
            advance.eq(0),
        ]
        with m.If(advance):
            m.d.sync += pointer.eq(pointer + 1)

        # ---- Shift register: the frame's first bytes as they come, later an answer's bytes
        length = max(8 * (HEADER_BYTES + RUN.size), STATUS_LAYOUT.size)
        shift = Signal(length, reset_less=True)
        low, middle, top = shift[:16], shift[16:-8], shift[-8:]
        shift_low, shift_middle, shift_top = Signal(), Signal(), Signal()
        load_status, load_unit = Signal(), Signal()
        status = Cat(*(getattr(self, name) for name, _ in STATUS_LAYOUT))
        with m.If(shift_low | load_unit | load_status):
            m.d.sync += low.eq(
                Mux(load_status, status, Mux(load_unit, self.bus_read_data, shift[8:])))
        with m.If(shift_middle | load_status):
            m.d.sync += middle.eq(Mux(load_status, status[16:], shift[24:]))
        with m.If(shift_top | load_status):
            m.d.sync += top.eq(Mux(load_status, status[-8:], byte))
        frame = data.View(FRAME_LAYOUT, shift[:FRAME_LAYOUT.size])
        access = frame.payload.access
        run = frame.payload.run
        for field in RUN_LAYOUT.members:
            m.d.comb += self.run.payload[field].eq(run[field])

        # ---- Bus
        index = Signal(range(MAX_UNITS + 1), reset_less=True)
        units = Signal(8, reset_less=True)
        last = index == units
        count_on, count_clear = Signal(), Signal()
        with m.If(count_on):
            m.d.sync += index.eq(index + 1)
        with m.If(count_clear):
            m.d.sync += index.eq(0)
        m.d.sync += self.bus_addr.eq(access.address + index)
        m.d.comb += self.bus_data.eq(Cat(top, byte))

        space = self.bus_addr[SPACE_BITS:]
        in_weights = self.bus_addr < self._weight_units
        readable = space.matches(*(which >> SPACE_BITS for which in (Space.TAPE, Space.CHECK)))
        in_space = space.matches(
            *(which >> SPACE_BITS for which in Space if which != Space.WEIGHTS))

        # ---- Commands
        m.d.sync += self.stop.eq(0)
        result = Signal(Result, reset_less=True)
        command = Signal(Command, reset_less=True)
        last_run = Signal(8)
        idle = Signal()
        responding = Signal()
        responded = Signal()
        m.d.comb += receiver.release.eq(receiver.good & ~idle)

        forbidden, busy, too_many = Signal(), Signal(), Signal()
        m.d.sync += [forbidden.eq(0), busy.eq(0)]
        # What a decision needs is compared a cycle before.
        known, fresh, repeat, feeds_none = Signal(), Signal(), Signal(), Signal()
        bare, fits_read, fits_run = Signal(), Signal(), Signal()
        m.d.sync += [
            known.eq(frame.command.matches(*Command)),
            fresh.eq(frame.sequence == 0),
            repeat.eq(frame.sequence == last_run),
            feeds_none.eq(run.n_feed == 0),
            *(fits.eq(receiver.count == MIN_FRAME_BYTES + size - WRITE_BYTES)
              for fits, size in ((bare, 0), (fits_read, READ.size), (fits_run, RUN.size))),
        ]
        # A sequence that is not there counts as a wrong length.
        has_sequence = (self._sequences > 1) | ~(run.flags & RunFlag.SECOND.value).any()
        # Right length, last value of the index, next state. The index begins at 1, and is set back
        # to 0 after a CHECK.
        decode = {
            Command.IDENTIFY: (bare, 1 + IDENTITY.size // UNIT_BYTES, "RESPOND"),
            Command.WRITE: (~receiver.count[0], receiver.count[1:], "CHECK"),
            Command.READ: (fits_read, access.count, "CHECK"),
            Command.RUN: (fits_run & has_sequence, 1, "RUN"),
            Command.STOP: (bare, 1, "STOP"),
            Command.STATUS: (bare, 1 + STATUS_LAYOUT.size // 8 // UNIT_BYTES, "RESPOND"),
        }

        fsm = OneHotFSM(m, "IDLE", "FETCH", "LOOK", "DECODE", "CHECK", "CHECKED", "WRITE LOW",
                        "WRITE HIGH", "STOP", "RUN", "START", "RESPOND")
        with fsm.State("IDLE"):
            m.d.comb += [idle.eq(1), count_clear.eq(1)]
            m.d.sync += [pointer.eq(start), result.eq(Result.OK)]
            with m.If(receiver.good):
                fsm.next = "FETCH"

        with fsm.State("FETCH"):
            m.d.comb += [
                advance.eq(1), shift_low.eq(1), shift_middle.eq(1), shift_top.eq(1)]
            with m.If(pointer == (start + length // 8) % MAX_FRAME_BYTES):
                fsm.next = "LOOK"

        with fsm.State("LOOK"):
            m.d.sync += [command.eq(frame.command), pointer.eq(units_start)]
            fsm.next = "DECODE"

        with fsm.State("DECODE"):
            m.d.comb += [receiver.release.eq(1), count_on.eq(1)]
            fsm.next = "RESPOND"
            with m.If(fresh):
                m.d.sync += last_run.eq(frame.sequence)
            with m.If(~known):
                m.d.sync += result.eq(Result.BAD_COMMAND)
            with m.Else(), m.Switch(command):
                for which, (right, count, state) in decode.items():
                    with m.Case(which):
                        m.d.sync += units.eq(count)
                        with m.If(right):
                            fsm.next = state
                        with m.Else():
                            m.d.sync += result.eq(Result.BAD_LENGTH)

        with fsm.State("CHECK"):
            # The address on the bus is that of the unit before the index. Numbers of units that
            # are too large, zero, or negative and thus large, are never reached.
            writable = in_space & (command == Command.WRITE)
            m.d.comb += count_on.eq(1)
            m.d.sync += [
                forbidden.eq(forbidden | access.beyond.any()
                             | ~(in_weights | readable | writable)),
                busy.eq(busy | (self.running & ~(readable & (command == Command.READ)))),
                too_many.eq(~last),
            ]
            with m.If(last | (index == MAX_UNITS)):
                fsm.next = "CHECKED"

        with fsm.State("CHECKED"):
            m.d.comb += [advance.eq(1), count_clear.eq(1)]
            fsm.next = "RESPOND"
            with m.If(too_many):
                m.d.sync += result.eq(Result.BAD_LENGTH)
            with m.Elif(forbidden):
                m.d.sync += result.eq(Result.BAD_ADDRESS)
            with m.Elif(busy):
                m.d.sync += result.eq(Result.BUSY)
            with m.Elif(command == Command.WRITE):
                fsm.next = "WRITE LOW"

        with fsm.State("WRITE LOW"):
            m.d.comb += [advance.eq(1), shift_top.eq(1)]
            fsm.next = "WRITE HIGH"
            with m.If(last):
                fsm.next = "RESPOND"

        with fsm.State("WRITE HIGH"):
            m.d.comb += [advance.eq(1), count_on.eq(1), self.bus_write.eq(1)]
            fsm.next = "WRITE LOW"

        with fsm.State("STOP"):
            m.d.sync += self.stop.eq(1)
            fsm.next = "RESPOND"

        with fsm.State("RUN"):
            fsm.next = "RESPOND"
            with m.If(fresh | ~repeat):
                with m.If(feeds_none):
                    m.d.sync += result.eq(Result.BAD_LENGTH)
                with m.Elif(self.running):
                    m.d.sync += result.eq(Result.BUSY)
                with m.Else():
                    fsm.next = "START"

        with fsm.State("START"):
            m.d.sync += [last_run.eq(frame.sequence), self.run.valid.eq(1)]
            with m.If(self.run.valid & self.run.ready):
                m.d.sync += self.run.valid.eq(0)
                fsm.next = "RESPOND"

        with fsm.State("RESPOND"):
            m.d.comb += responding.eq(1)
            with m.If(responded):
                fsm.next = "IDLE"

        # ---- Answers and notices
        announce = Signal(reset_less=True)
        second = Signal(reset_less=True)
        notice = Mux(second, self.notice_1.payload.as_value(), self.notice_0.payload.as_value())
        identify = Signal(reset_less=True)
        was_last = Signal(reset_less=True)
        m.d.sync += [identify.eq(command == Command.IDENTIFY), was_last.eq(last)]
        sending = Signal()
        sent = sender.i.ready
        fixed = Signal(8)
        from_shift, from_body = Signal(), Signal()
        from_notice = Signal(NOTICE_LAYOUT.size // 8)
        parts = [
            (from_shift | (from_body & ~identify), shift[:8]),
            (from_body & identify, byte),
            *((from_notice[i], notice.word_select(i, 8))
              for i in range(len(from_notice))),
        ]
        m.d.comb += [
            sender.i.valid.eq(sending),
            # At most one part is not zero, which is smaller than a choice.
            sender.i.payload.data.eq(
                reduce(or_, (Mux(chosen, part, 0) for chosen, part in parts), fixed)),
            read.addr[-1].eq(identify & responding),
        ]
        # The sender takes a byte at most every other cycle, so there is time for a register.
        taken = Signal()
        m.d.sync += taken.eq((from_shift | from_body) & sent)
        with m.If(taken):
            m.d.comb += shift_low.eq(1)
            with m.If(identify):
                m.d.comb += advance.eq(1)
            with m.If(command == Command.STATUS):
                m.d.comb += shift_middle.eq(1)

        answer = OneHotFSM(m, "IDLE", "SEQUENCE", "COMMAND", "RESULT", "RUNNING", "BODY",
                           "READ", "READ WAIT", "LOW", "HIGH", "COUNTED", "END")
        with answer.State("IDLE"):
            m.d.sync += [announce.eq(~responding), second.eq(~self.notice_0.valid)]
            with m.If(responding | self.notice_0.valid | self.notice_1.valid):
                answer.next = "SEQUENCE"

        with answer.State("SEQUENCE"):
            m.d.comb += [sending.eq(1), from_shift.eq(~announce)]
            with m.If(sent):
                answer.next = "COMMAND"

        with answer.State("COMMAND"):
            m.d.comb += [
                sending.eq(1),
                fixed.eq(Mux(announce, NOTICE | second, RESPONSE)),
                from_shift.eq(~announce),
            ]
            with m.If(sent):
                answer.next = "RESULT"

        with answer.State("RESULT"):
            m.d.comb += [
                sending.eq(1),
                fixed.eq(Mux(announce, 0, result)),
                from_notice[0].eq(announce),
            ]
            with m.If(sent):
                answer.next = "BODY"
                with m.If(announce):
                    answer.next = "LOW"
                with m.Elif((command == Command.STATUS) & (result == Result.OK)):
                    answer.next = "RUNNING"

        with answer.State("RUNNING"):
            # Loaded until it is taken, and so as old as ``running``.
            m.d.comb += [sending.eq(1), fixed.eq(self.running), load_status.eq(1)]
            with m.If(sent):
                answer.next = "BODY"

        with answer.State("BODY"):
            answer.next = "LOW"
            with m.If(command == Command.READ):
                answer.next = "READ"
            with m.If(was_last | (result != Result.OK)):
                answer.next = "END"

        with answer.State("READ"):
            m.d.comb += self.bus_read.eq(1)
            answer.next = "READ WAIT"

        with answer.State("READ WAIT"):
            m.d.comb += load_unit.eq(1)
            with m.If(self.bus_read_valid):
                answer.next = "LOW"

        with answer.State("LOW"):
            m.d.comb += [
                sending.eq(1), from_body.eq(~announce), from_notice[1].eq(announce)]
            with m.If(sent):
                answer.next = "HIGH"

        with answer.State("HIGH"):
            m.d.comb += [
                sending.eq(1), from_body.eq(~announce), from_notice[2].eq(announce)]
            with m.If(sent):
                answer.next = "END"
                with m.If(~announce):
                    m.d.comb += count_on.eq(1)
                    answer.next = "COUNTED"

        with answer.State("COUNTED"):
            answer.next = "BODY"

        with answer.State("END"):
            m.d.comb += [sending.eq(1), sender.i.payload.end.eq(1)]
            with m.If(sent):
                m.d.comb += [
                    responded.eq(~announce),
                    self.notice_0.ready.eq(announce & ~second),
                    self.notice_1.ready.eq(announce & second),
                ]
                answer.next = "IDLE"
        return m
