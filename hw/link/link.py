"""The device's end of the link: frames from the host to bus accesses, runs and responses."""

import struct

from amaranth.hdl import Cat, Module, Mux, Value
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out, connect, flipped

from trilight.hw.contract.device import Device
from trilight.hw.contract.protocol import (
    FLASH_OFFSET,
    IDENTITY,
    PROTOCOL_MAGIC,
    PROTOCOL_VERSION,
    TERMINAL,
    Region,
    Result,
)
from trilight.hw.interfaces import (
    BusSignature,
    RunSignature,
    StatusSignature,
    region_number,
    token_event_layout,
    token_events,
)
from trilight.hw.lib.frames import FrameReceiver, FrameSender
from trilight.hw.lib.uart import UARTReceiver, UARTTransmitter, check_clocks_per_bit

from .boot import FlashReader, FlashSignature, add_verdict
from .buffer import FrameBuffer
from .commands import Commands
from .layouts import WRITE_BYTES, status_layout
from .responses import Responses
from .terminal import Terminal

__all__ = ["Link"]


class Link(wiring.Component):
    """Execute the host's commands and announce tokens; ``docs/protocol.md`` is the contract.

    A frame's bytes wait in a buffer for its CRC. The response begins at most 30 cycles after the
    frame's last bit, and 3 cycles more per word of a WRITE or 1 per word of a READ, unless an event
    is being sent. The buffer is read faster than the next frame's bytes can overwrite it, so frames
    may follow each other without a gap; but one that ends before the response to the one before has
    been handed to the line is dropped.

    ::

        rx -> UARTReceiver -> FrameReceiver -> FrameBuffer -> Commands -> bus, run
        tx <- UARTTransmitter <- FrameSender <- Responses <- events, status, bus

    Parameters
    ----------
    device : Device
    clock_hz : int
        Reported by IDENTIFY.
    clocks_per_bit : int
        Cycles per UART bit, at least 4.
    build_id : int
        Reported by IDENTIFY; 32 bits.
    magic : bytes
        Kind of device, reported by IDENTIFY.
    boots : bool
        Whether commands are first read from a flash memory, before the line is listened to. The
        responses to all of them but the last go nowhere.
    flash_offset : int
        Byte of that memory at which they begin.

    Members
    -------
    rx, tx : In(1), Out(1)
        Pins; ``rx`` may be asynchronous.
    flash : Out(FlashSignature)
        Of a link that boots.
    damaged : Out(1)
        Of a link that boots: there is an image in the flash memory, and it is damaged.
    bus : Out(BusSignature)
        Writes come at most every other cycle; a read may take one or more.
    run : Out(RunSignature)
        A RUN that comes during a run is refused.
    status : In(StatusSignature)
        All members are reported as of the same cycle.
    events : In(token_events)
        An event is taken when its last byte has been handed on.

    Raises
    ------
    ValueError
        A size does not fit ``IDENTITY``.
    """

    def __init__(self, *, device: Device, clock_hz: int, clocks_per_bit: int,
                 build_id: int = 0, magic: bytes = PROTOCOL_MAGIC, boots: bool = False,
                 flash_offset: int = FLASH_OFFSET) -> None:
        try:
            self._identity = IDENTITY.pack(
                magic, PROTOCOL_VERSION, device.trits, device.lanes, clock_hz,
                clocks_per_bit, build_id, device.weight_words, device.max_rows, device.max_columns,
                device.max_channels, device.program_words, device.tape_tokens, device.max_vocab,
                device.sequences, device.adapt_code)
        except struct.error as error:
            raise ValueError(f"clock_hz={clock_hz}, clocks_per_bit={clocks_per_bit}, "
                             f"build_id={build_id} or {device} cannot be reported: {error}"
                             ) from error
        self._device = device
        self._clocks_per_bit = check_clocks_per_bit(clocks_per_bit)
        self._reader = FlashReader(clock_hz=clock_hz, offset=flash_offset) if boots else None
        super().__init__({
            "rx": In(1, init=1),
            "tx": Out(1, init=1),
            "bus": Out(BusSignature(device)),
            "run": Out(RunSignature(device)),
            "status": In(StatusSignature(device)),
            "events": token_events(device).flip(),
            **({"flash": Out(FlashSignature()), "damaged": Out(1)} if boots else {}),
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
        m.d.comb += self.tx.eq(uart_transmitter.tx)

        status = Cat(Value.cast(getattr(self.status, name))
                     for name in status_layout(self._device).members)
        line = _Line(uart_receiver, uart_transmitter, receiver, sender)
        if self._device.terminal:
            bus, run, events = self._add_terminal(m, line)
        else:
            bus, run, events = self.bus, self.run, self.events
        buffer = FrameBuffer(m, receiver, self._identity, status, self.bus.read_data)
        commands = Commands(m, self._device, receiver, buffer, bus, run, self.status.running)
        Responses(m, sender, buffer, commands, bus, self.status.running, events)
        if self._reader is not None:
            self._add_boot(m, line, self._reader, receiver, commands)
        else:
            line.connect(m)
        return m

    def _add_boot(self, m: Module, line: "_Line", reader: FlashReader, receiver: FrameReceiver,
                  commands: Commands) -> None:
        """Add the reader of the flash memory, which has the line's place until it stops."""
        m.submodules.reader = reader
        connect(m, reader.flash, flipped(self.flash))
        line.reader = reader
        line.connect(m)
        request = self.run.request
        m.d.comb += self.damaged.eq(add_verdict(
            m, reader, receiver, finished=self.run.stop | (request.valid & request.ready),
            refused=commands.responded & (commands.result != Result.OK)))

    def _add_terminal(self, m: Module, line: "_Line") -> tuple[
            "wiring.PureInterface", "wiring.PureInterface", "list[stream.Interface]"]:
        """Add the terminal; return the bus, the runs and the events that are left to frames."""
        device = self._device
        m.submodules.terminal = line.terminal = terminal = Terminal(device=device)
        bus, run = BusSignature(device).create(), RunSignature(device).create()
        events = [stream.Signature(token_event_layout(device)).create() for _ in self.events]
        active, request = terminal.active, self.run.request
        m.d.comb += [
            self.bus.to_weights.eq(bus.to_weights & ~active),
            self.bus.region.eq(Mux(active, Region.TAPE.number, bus.region)),
            self.bus.address.eq(Mux(active, terminal.address, bus.address)),
            self.bus.data.eq(Mux(active, terminal.token, bus.data)),
            self.bus.write.eq(Mux(active, terminal.write, bus.write)),
            self.bus.read.eq(bus.read & ~active),
            bus.read_data.eq(self.bus.read_data),
            bus.read_valid.eq(self.bus.read_valid),
            request.valid.eq(Mux(active, terminal.request.valid, run.request.valid)),
            request.payload.eq(Mux(active, terminal.request.payload, run.request.payload)),
            terminal.request.ready.eq(request.ready & active),
            run.request.ready.eq(request.ready & ~active),
            self.run.stop.eq(run.stop),
            terminal.running.eq(self.status.running),
            terminal.event.payload.eq(self.events[0].payload),
            terminal.event.valid.eq(self.events[0].valid & active),
            # A word of the region is in its low byte; the address counts on within it.
            terminal.table.addr.eq(bus.address),
            terminal.table.data.eq(bus.data),
            terminal.table.en.eq(bus.write & ~bus.to_weights
                                 & (bus.region == region_number(TERMINAL))),
        ]
        for k, (event, left) in enumerate(zip(self.events, events, strict=True)):
            taken = terminal.event.ready if k == 0 else 1
            m.d.comb += [
                left.payload.eq(event.payload),
                left.valid.eq(event.valid & ~active),
                event.ready.eq(Mux(active, taken, left.ready)),
            ]
        return bus, run, events


class _Line:
    """The serial line, and who has it: frames, the boot that is read in their place, a terminal."""

    def __init__(self, uart_receiver: UARTReceiver, uart_transmitter: UARTTransmitter,
                 receiver: FrameReceiver, sender: FrameSender) -> None:
        self._heard = uart_receiver
        self._said = uart_transmitter
        self._receiver = receiver
        self._sender = sender
        self.reader: FlashReader | None = None
        self.terminal: Terminal | None = None

    def connect(self, m: Module) -> None:
        """Connect whoever is there."""
        heard, said, receiver, sender = self._heard, self._said, self._receiver, self._sender
        valid: Value = heard.o.valid
        payload: Value = heard.o.payload
        lost: Value = heard.error
        sends: Value = sender.o.valid
        byte: Value = sender.o.payload
        taken: Value = said.i.ready
        if self.terminal is not None:
            terminal = self.terminal
            active = terminal.active
            m.d.comb += [
                terminal.i.valid.eq(heard.o.valid),
                terminal.i.payload.eq(heard.o.payload),
                terminal.breaks.eq(heard.error & (heard.o.payload == 0)),
                terminal.o.ready.eq(said.i.ready & active),
                terminal.waits.eq(0 if self.reader is None else self.reader.busy),
            ]
            valid = valid & ~active
            sends = Mux(active, terminal.o.valid, sends)
            byte = Mux(active, terminal.o.payload, byte)
            taken = taken | active
        if self.reader is not None:
            busy = self.reader.busy
            valid = Mux(busy, self.reader.o.valid, valid)
            payload = Mux(busy, self.reader.o.payload, payload)
            lost = lost & ~busy
            sends = sends & ~busy
            taken = taken | busy
        m.d.comb += [
            receiver.i.valid.eq(valid),
            receiver.i.payload.eq(payload),
            receiver.error.eq(lost),
            said.i.valid.eq(sends),
            said.i.payload.eq(byte),
            sender.o.ready.eq(taken),
        ]
