"""The engine behind the reader that makes a stream of a memory's words."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from trilight.hw.contract.device import Device
from trilight.hw.engine.engine import Engine
from trilight.hw.memory.reader import WordReader

__all__ = ["EngineOnMemory"]


class EngineOnMemory(wiring.Component):  # type: ignore[type-arg]  # no generic when it runs
    """The engine, and the reader that makes a stream of a memory's words: the bench is the memory.

    The members are the engine's, but for its words: ``weight_addr``, ``weight_read``,
    ``weight_data`` are the reader's port to the memory.
    """

    def __init__(self, *, device: Device) -> None:
        self._engine: Any = Engine(device=device)
        self._reader: Any = WordReader(device=device)
        inner = self._engine.signature.members
        super().__init__({
            **{name: member for name, member in inner.items() if name not in ("words", "fetch")},
            "weight_addr": Out(device.address_bits),
            "weight_read": Out(1),
            "weight_data": In(device.packing.word_bits),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.engine = engine = self._engine
        m.submodules.reader = reader = self._reader
        connect(m, reader.words, engine.words)
        connect(m, reader.fetch, engine.fetch)
        for name, member in engine.signature.members.items():
            inner, outer = getattr(engine, name), getattr(self, name, None)
            if outer is None:
                continue
            if member.is_signature:
                connect(m, flipped(outer), inner)
            else:
                m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        ports: Any = self
        m.d.comb += [
            ports.weight_addr.eq(reader.addr),
            ports.weight_read.eq(reader.read),
            reader.data.eq(ports.weight_data),
        ]
        return m
