"""A recovered netlist as Verilog, on the cells of ``sim/cells/ice40.v``."""

from collections.abc import Iterator
from itertools import groupby

from .design import Cell, RecoveredDesign

__all__ = ["write_verilog"]


def _wires(cell: Cell) -> Iterator[str]:
    for nets in cell.outputs.values():
        name = nets[0].partition("[")[0]
        yield f"  wire {f'[{len(nets) - 1}:0] ' if len(nets) > 1 else ''}{name};"


def _value(nets: list[str]) -> str:
    """A net, constant or concatenation; equal neighbours are gathered."""
    if len(nets) == 1:
        return nets[0]
    parts = [(net, len(list(group))) for net, group in groupby(reversed(nets))]
    return "{" + ", ".join(net if count == 1 else f"{{{count}{{{net}}}}}"
                           for net, count in parts) + "}"


def _cell(cell: Cell) -> str:
    parameters = ", ".join(f".{name}({value})" for name, value in cell.parameters.items())
    outputs = {port: [nets[0].partition("[")[0]] for port, nets in cell.outputs.items()}
    ports = ", ".join(f".{port}({_value(nets)})" for port, nets in
                      {**cell.inputs, **outputs}.items())
    return f"  {cell.kind} {f'#({parameters}) ' if parameters else ''}{cell.name} ({ports});"


def write_verilog(design: RecoveredDesign, top: str) -> str:
    """Verilog of a recovered netlist as the module ``top``, whose ports are the pins."""
    lines = [f"module {top}({', '.join(design.pins)});"]
    lines += [f"  {direction} {pin};" for pin, direction in design.pins.items()]
    for cell in design.cells:
        lines += [*_wires(cell), _cell(cell)]
    return "\n".join([*lines, "endmodule", ""])
