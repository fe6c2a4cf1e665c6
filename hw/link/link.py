"""The device's end of the link: frames from the host to bus accesses, runs and responses."""

import struct

from amaranth.hdl import Cat, Module, Value
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out, connect

from trilight.hw.contract.device import Device
from trilight.hw.contract.protocol import IDENTITY, PROTOCOL_MAGIC, PROTOCOL_VERSION
from trilight.hw.interfaces import BusSignature, RunSignature, StatusSignature, token_events
from trilight.hw.lib.frames import FrameReceiver, FrameSender
from trilight.hw.lib.uart import UARTReceiver, UARTTransmitter, check_clocks_per_bit

from .buffer import FrameBuffer
from .commands import Commands
from .layouts import WRITE_BYTES, status_layout
from .responses import Responses

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

    Members
    -------
    rx, tx : In(1), Out(1)
        Pins; ``rx`` may be asynchronous.
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
                 build_id: int = 0, magic: bytes = PROTOCOL_MAGIC) -> None:
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
        super().__init__({
            "rx": In(1, init=1),
            "tx": Out(1, init=1),
            "bus": Out(BusSignature(device)),
            "run": Out(RunSignature(device)),
            "status": In(StatusSignature(device)),
            "events": token_events(device).flip(),
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

        status = Cat(Value.cast(getattr(self.status, name))
                     for name in status_layout(self._device).members)
        buffer = FrameBuffer(m, receiver, self._identity, status, self.bus.read_data)
        commands = Commands(m, self._device, receiver, buffer, self.bus, self.run,
                            self.status.running)
        Responses(m, sender, buffer, commands, self.bus, self.status.running, self.events)
        return m
