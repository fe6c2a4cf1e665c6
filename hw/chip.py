"""The chip: the link and the core, from pin to pin."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from trilight.hw.contract.device import UP5K, Device
from trilight.hw.link.link import Link

from .core import Core

__all__ = ["Chip"]


class Chip(wiring.Component):
    """A language model on one chip: frames in and out of ``rx`` and ``tx``.

    Parameters
    ----------
    device : Device
    clock_hz : int
        Frequency of the ``sync`` domain, reported to the host.
    clocks_per_bit : int
        Cycles per UART bit, at least 4.
    build_id : int
        Reported to the host; 32 bits.

    Members
    -------
    rx : In(1)
    tx : Out(1)
    running : Out(1)
        A run is in progress.
    checking : Out(1)
        The weight memory is being checked.
    """

    rx: Signal
    tx: Signal
    running: Signal
    checking: Signal

    def __init__(self, *, device: Device = UP5K, clock_hz: int = 48_000_000,
                 clocks_per_bit: int = 4, build_id: int = 0) -> None:
        self._device = device
        self._link = Link(device=device, clock_hz=clock_hz, clocks_per_bit=clocks_per_bit,
                          build_id=build_id)
        super().__init__({"rx": In(1), "tx": Out(1), "running": Out(1), "checking": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.link = link = self._link
        m.submodules.core = core = Core(device=self._device)
        connect(m, link.run, core.run)
        connect(m, core.notice_0, link.notice_0)
        connect(m, core.notice_1, link.notice_1)
        m.d.comb += [
            link.rx.eq(self.rx),
            self.tx.eq(link.tx),
            core.bus_addr.eq(link.bus_addr),
            core.bus_data.eq(link.bus_data),
            core.bus_write.eq(link.bus_write),
            core.bus_read.eq(link.bus_read),
            link.bus_read_data.eq(core.bus_read_data),
            link.bus_read_valid.eq(core.bus_read_valid),
            core.stop.eq(link.stop),
            self.running.eq(core.running),
            self.checking.eq(core.checking),
            link.running.eq(core.running),
            link.position_0.eq(core.position_0),
            link.position_1.eq(core.position_1),
            link.cycles.eq(core.cycles),
            link.words.eq(core.words),
            link.tokens.eq(core.tokens),
        ]
        return m
