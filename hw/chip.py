"""The chip: the link and the core, from pin to pin."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .contract.device import Device
from .contract.protocol import FLASH_OFFSET
from .core import Core
from .link.boot import FlashSignature
from .link.link import Link
from .memory.streamed import outside_pins

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
    boots : bool
        Whether the chip first executes the commands in a flash memory.
    flash_offset : int
        Byte of that memory at which they begin.

    Members
    -------
    rx, tx : In(1), Out(1)
    running : Out(1)
        A run is in progress.
    checking : Out(1)
        The weight memory is being checked.
    flash : Out(FlashSignature)
        Of a chip that boots.
    damaged : Out(1)
        Of a chip that boots: there is an image in the flash memory, and it is damaged.
    outside : Out(outside_pins)
        Pins of the memory outside, of a device whose weights stream from there.
    """

    def __init__(self, *, device: Device, clock_hz: int = 48_000_000,
                 clocks_per_bit: int = 4, build_id: int = 0, boots: bool = False,
                 flash_offset: int = FLASH_OFFSET) -> None:
        self._device = device
        self._boots = boots
        self._link = Link(device=device, clock_hz=clock_hz, clocks_per_bit=clocks_per_bit,
                          build_id=build_id, boots=boots,
                          flash_offset=flash_offset)
        super().__init__({
            "rx": In(1), "tx": Out(1), "running": Out(1), "checking": Out(1),
            **({"flash": Out(FlashSignature()), "damaged": Out(1)} if boots else {}),
            **({"outside": Out(outside_pins(device))} if device.streamed else {}),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.link = link = self._link
        m.submodules.core = core = Core(device=self._device)
        connect(m, link.bus, core.bus)
        connect(m, link.run, core.run)
        connect(m, core.status, link.status)
        for event, announced in zip(core.events, link.events, strict=True):
            connect(m, event, announced)
        if self._boots:
            connect(m, link.flash, flipped(self.flash))
            m.d.comb += self.damaged.eq(link.damaged)
        if self._device.streamed:
            connect(m, core.outside, flipped(self.outside))
        m.d.comb += [
            link.rx.eq(self.rx),
            self.tx.eq(link.tx),
            self.running.eq(core.status.running),
            self.checking.eq(core.checking),
        ]
        return m
