"""The device's end of the link: frames from the host to bus accesses, runs and answers."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .config import DeviceConfig
from .sequencer import NOTICE_LAYOUT, RUN_LAYOUT

__all__ = ["Link"]

ADDRESS_BITS = 17


class Link(wiring.Component):
    """Executes the host's commands and announces tokens; ``docs/protocol.md`` is the contract.

    Parameters
    ----------
    device : DeviceConfig
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
        Pulse: write ``bus_data`` to unit ``bus_addr``.
    bus_read : Out(1)
        Pulse: read unit ``bus_addr``.
    bus_read_data : In(16)
    bus_read_valid : In(1)
        Pulse, one or more cycles after ``bus_read``.
    running : In(1)
    run : Out(stream of RUN_LAYOUT)
        An accepted RUN; one that comes while ``running`` or not ready is refused.
    stop : Out(1)
        Pulse.
    position, cycles, words, tokens : In
        For STATUS.
    notice : In(stream of NOTICE_LAYOUT)
        Token to announce; taken when it has been sent.
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
    position: Signal
    cycles: Signal
    words: Signal
    tokens: Signal
    notice: stream.Interface

    def __init__(self, *, device: DeviceConfig, clock_hz: int, clocks_per_bit: int,
                 build_id: int = 0) -> None:
        self._device = device
        self._clock_hz = clock_hz
        self._clocks_per_bit = clocks_per_bit
        self._build_id = build_id
        super().__init__({
            "rx": In(1, init=1),
            "tx": Out(1, init=1),
            "bus_addr": Out(ADDRESS_BITS),
            "bus_data": Out(16),
            "bus_write": Out(1),
            "bus_read": Out(1),
            "bus_read_data": In(16),
            "bus_read_valid": In(1),
            "running": In(1),
            "run": Out(stream.Signature(RUN_LAYOUT)),
            "stop": Out(1),
            "position": In(16),
            "cycles": In(32),
            "words": In(32),
            "tokens": In(32),
            "notice": In(stream.Signature(NOTICE_LAYOUT)),
        })

    def elaborate(self, platform: object) -> Module:
        return Module()
