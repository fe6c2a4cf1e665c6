"""The smallest design that uses every pin: it sends back what it receives."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["Echo"]


class Echo(wiring.Component):
    """Loop from the receive line to the transmit line, three cycles later.

    It tries out a cable, a build or a simulator in seconds. Takes and ignores the parameters of
    ``trilight.hw.chip.Chip``, in whose place it stands.

    Members
    -------
    rx : In(1)
    tx : Out(1)
    running, checking : Out(1)
        Always 0.
    """

    rx: Signal
    tx: Signal
    running: Signal
    checking: Signal

    def __init__(self, **chip_parameters: Any) -> None:
        super().__init__({
            "rx": In(1), "tx": Out(1, init=1), "running": Out(1), "checking": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rx = Signal(init=1)
        m.submodules.sync = FFSynchronizer(self.rx, rx, init=1)
        m.d.sync += self.tx.eq(rx)

        trace_edge_valid = Signal(attrs={"keep": 1})
        trace_edge = Signal(attrs={"keep": 1})
        m.d.comb += [trace_edge_valid.eq(rx != self.tx), trace_edge.eq(rx)]
        return m
