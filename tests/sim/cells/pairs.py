"""Cells side by side with what they are held against, in one design, on random inputs.

The design counts the cycles in which their outputs differ, cell by cell.
"""

import numpy as np

from trilight.hw.flow.build import BoardDesign

__all__ = ["Pairs"]


class Pairs:
    """Verilog of pairs of modules, each with random inputs of its own.

    Parameters
    ----------
    rng
        Source of constants and seeds.
    other
        Prefix of the names of the modules that cells are held against.
    """

    def __init__(self, rng: np.random.Generator, other: str) -> None:
        self.rng = rng
        self.other = other
        self.lines: list[str] = []
        self.counts: dict[str, list[str]] = {}
        self.generator = ""
        self.left = 0

    def random(self, bits: int) -> str:
        """Return an expression of random bits, new after each rising edge."""
        if self.left < bits:
            seed = int(self.rng.integers(1, 2**63))
            name = self.generator = f"random_{len(self.lines)}"
            self.left = 48
            # Marsaglia's xorshift; its low bits are the weaker ones.
            self.lines += [
                f"reg [63:0] {name} = 64'd{seed};",
                f"wire [63:0] {name}_a = {name} ^ ({name} << 13);",
                f"wire [63:0] {name}_b = {name}_a ^ ({name}_a >> 7);",
                f"always @(posedge clk) {name} <= {name}_b ^ ({name}_b << 17);"]
        self.left -= bits
        return f"{self.generator}[{self.left + 16} +: {bits}]"

    def constant(self, bits: int) -> str:
        """Return a random constant."""
        return f"{bits}'h{int.from_bytes(self.rng.bytes(bits // 8 + 1)) % 2**bits:x}"

    def pair(self, cell: str, parameters: dict[str, str], inputs: dict[str, str],
             outputs: dict[str, int], *, when: str = "1", pin: str | None = None,
             count: str | None = None) -> None:
        """Place both with the same inputs; count where outputs differ, under ``count``."""
        number = len(self.lines)
        differ = f"differ_{number}"
        results: dict[str, list[str]] = {}
        for prefix in ("", self.other):
            ports = dict(inputs)
            for port, bits in outputs.items():
                wire = f"{prefix}{port}_{number}"
                self.lines += [f"wire [{bits - 1}:0] {wire};"]
                ports[port] = wire
                results.setdefault(port, []).append(wire)
            if pin is not None:
                wire = f"{prefix}pin_{number}"
                self.lines += [f"wire {wire};", *([f"assign {wire} = {pin};"] if pin else [])]
                ports["PACKAGE_PIN"] = wire
            settings = ", ".join(f".{k}({v})" for k, v in parameters.items())
            self.lines += [f"{prefix}{cell} #({settings}) {prefix}cell_{number}("
                           + ", ".join(f".{k}({v})" for k, v in ports.items()) + ");"]
        self.lines += [f"wire {differ} = ({when}) && ("
                       + " || ".join(" != ".join(pair) for pair in results.values()) + ");"]
        self.counts.setdefault(count or cell, []).append(differ)

    def verilog(self, board: BoardDesign, modules: str) -> str:
        """Return the design, with a board's pins, and the modules that it is held against."""
        pins = [f"input {board.clock_pin}", f"input {board.rx_pin}", f"output {board.tx_pin}"]
        ports = [f"output [31:0] trace_{cell}" for cell in (*self.counts, "cycle")]
        body = [f"wire clk = {board.clock_pin};", f"assign {board.tx_pin} = 1'b1;",
                "reg [31:0] cycle = 0;", "always @(posedge clk) cycle <= cycle + 1;",
                "assign trace_cycle = cycle;", *self.lines]
        for cell, differs in self.counts.items():
            body += [f"reg [31:0] count_{cell} = 0;", f"assign trace_{cell} = count_{cell};",
                     f"always @(posedge clk) count_{cell} <= count_{cell} + "
                     + " + ".join(f"32'({differ})" for differ in differs) + ";"]
        header = [f"  {port};" for port in (*pins, *ports)]
        names = [port.split()[-1] for port in (*pins, *ports)]
        return "\n".join([modules, f"module {board.top}({', '.join(names)});", *header, *body,
                          "endmodule", ""])
