"""Signals of a block that only simulation looks at."""

from amaranth.hdl import Module, Signal, Value

__all__ = ["add_probes"]


def add_probes(m: Module, **probes: tuple[Value, Value]) -> None:
    """Add ``trace_NAME`` and ``trace_NAME_valid`` for each pair of valid and value."""
    for name, (valid, value) in probes.items():
        trace_valid = Signal(name=f"trace_{name}_valid", attrs={"keep": 1})
        trace_value = Signal(len(value), name=f"trace_{name}", attrs={"keep": 1})
        m.d.comb += [trace_valid.eq(valid), trace_value.eq(value)]
