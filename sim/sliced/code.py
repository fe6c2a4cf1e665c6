"""C++ of a circuit on words: each net is 64 bits, one of each chip."""

from collections.abc import Iterable

from trilight.sw.errors import SimulationError

from .circuit import GATES, Bit, Circuit, Gate, Memory

__all__ = ["circuit_code"]

FUNCTION_GATES = 800
"""Gates in a function: compilers take more than twice the time for twice the length."""


class _Nets:
    """Place of each net: in flip-flops, memories' outputs, between functions, or fixed."""

    def __init__(self, circuit: Circuit) -> None:
        self.places: dict[Bit, str] = {bit: "W(0)" for bit in circuit.open_pins}
        self.places |= {"0": "W(0)", "1": "~W(0)", "x": "W(0)", circuit.rx: "rx"}
        for k, flip_flop in enumerate(circuit.flip_flops):
            self.places[flip_flop.q] = f"q[{k}]"
        for k, memory in enumerate(circuit.memories):
            for bit, net in enumerate(memory.output):
                self.places[net] = f"m[{k}][{bit}]"


def _sorted_gates(circuit: Circuit, roots: Iterable[Bit]) -> list[Gate]:
    """The gates that ``roots`` depend on, each after those that drive it, and near those it feeds.

    Raises
    ------
    SimulationError
        They drive themselves in a circle.
    """
    by_output: dict[Bit, Gate] = {gate.output: gate for gate in circuit.gates}
    found: list[Gate] = []
    state: dict[int, bool] = {}  # False while what drives it is being looked for
    for root in roots:
        stack = [by_output[root]] if root in by_output else []
        while stack:
            gate = stack[-1]
            if gate.output in state:
                stack.pop()
                if not state[gate.output]:
                    state[gate.output] = True
                    found.append(gate)
                continue
            state[gate.output] = False
            for bit in gate.inputs.values():
                if (driver := by_output.get(bit)) is None or state.get(driver.output):
                    continue
                if driver.output in state:
                    raise SimulationError(f"net {driver.output} of the circuit drives itself")
                stack.append(driver)
    return found


def circuit_code(circuit: Circuit) -> str:
    """Return ``circuit.h``, which ``harness.cpp`` includes."""
    nets = _Nets(circuit)
    # What leaves the logic: next states, pins of memories, traces.
    pins: dict[Bit, int] = {"0": 0, "1": 1}
    for bit in (bit for memory in circuit.memories for bits in memory.inputs.values()
                for bit in bits):
        pins.setdefault("0" if bit == "x" else bit, len(pins))
    for bit in (circuit.tx, *(bit for bits in circuit.traces.values() for bit in bits)):
        pins.setdefault("0" if bit == "x" else bit, len(pins))
    pins["x"] = 0
    gates = _sorted_gates(circuit, [*(each.d for each in circuit.flip_flops), *pins])
    chunks = [gates[k:k + FUNCTION_GATES] for k in range(0, len(gates), FUNCTION_GATES)]
    home: dict[Bit, int] = {gate.output: number
                            for number, chunk in enumerate(chunks) for gate in chunk}
    wanted = {bit for number, chunk in enumerate(chunks) for gate in chunk
              for bit in gate.inputs.values() if home.get(bit, number) != number}
    crossing = {bit: k for k, bit in enumerate(sorted(wanted, key=lambda bit: home[bit]))}
    next_of: dict[Bit, list[int]] = {}
    for k, flip_flop in enumerate(circuit.flip_flops):
        next_of.setdefault(flip_flop.d, []).append(k)

    def keep(bit: Bit, value: str) -> list[str]:
        """Statements that keep a value for those outside of the function."""
        lines = [f"t[{crossing[bit]}] = {value};"] if bit in crossing else []
        lines += [f"d[{k}] = {value};" for k in next_of.get(bit, [])]
        return lines + ([f"p[{pins[bit]}] = {value};"] if bit in pins else [])

    functions = []
    for number, chunk in enumerate(chunks):
        lines = []
        for gate in chunk:
            def read(bit: Bit, here: int = number) -> str:
                if bit in home:
                    return f"n{bit}" if home[bit] == here else f"t[{crossing[bit]}]"
                return nets.places[bit]

            value = GATES[gate.kind].format(**{pin: read(bit) for pin, bit in gate.inputs.items()})
            lines += [f"const W n{gate.output} = {value};",
                      *keep(gate.output, f"n{gate.output}")]
        functions.append(_function(f"logic_{number}", lines))
    direct = [line for bit in {**next_of, **pins} if bit not in home
              for line in keep(bit, nets.places[bit])]
    functions.append(_function("logic_wires", direct))
    calls = [f"logic_{name}(q, m, rx, t, d, p);" for name in [*range(len(chunks)), "wires"]]
    sizes = {"FLIP_FLOPS": len(circuit.flip_flops), "MEMORIES": len(circuit.memories),
             "PINS": len(pins), "CROSSING": len(crossing), "TX": pins[circuit.tx]}
    return "\n".join([
        *(f"constexpr size_t {name} = {size};" for name, size in sizes.items()),
        "constexpr bool INITIAL[] = {" + ", ".join(
            str(int(each.initial)) for each in circuit.flip_flops) + "};",
        *functions, _function("logic", calls),
        *_memories(circuit.memories, pins), *_traces(circuit, pins), ""])


def _function(name: str, lines: list[str]) -> str:
    return (f"static void {name}(const W* q, const W (*m)[16], W rx, W* t, W* d, W* p) {{\n  "
            + "\n  ".join(lines) + "\n}")


def _places(bits: Iterable[Bit], pins: dict[Bit, int]) -> str:
    return "{" + ", ".join(str(pins[bit]) for bit in bits) + "}"


def _memories(memories: list[Memory], pins: dict[Bit, int]) -> list[str]:
    """Declarations of the memories, and functions that clock them."""
    members, reads, writes, starts = [], [], [], []
    for k, memory in enumerate(memories):
        arguments = ", ".join(_places(bits, pins) for bits in memory.inputs.values())
        small = memory.kind == "SB_RAM40_4K"
        kind = f"BlockRam<{memory.modes[0]}, {memory.modes[1]}>" if small else "Spram"
        members.append(f"{kind} memory_{k}{{{{{arguments}}}}};")
        reads.append(f"memory_{k}.read(p, m[{k}]);")
        writes.append(f"memory_{k}.write(p);")
        rows = ", ".join(map(str, memory.rows or (0,)))
        starts.append(f"{{ static const uint16_t rows[] = {{{rows}}}; "
                      f"memory_{k}.start(lane, rows, {len(memory.rows)}); }}")
    cases = [f"case {k}: return memory_{k}.at(address);" for k in range(len(memories))]
    return ["struct Memories {", *members,
            "void clock(const W* p, W (*m)[16]) {", *reads, *writes, "}",
            "void start(unsigned lane) {", *starts, "}",
            "V* at(unsigned memory, unsigned address) {", "switch (memory) {", *cases,
            "default: return nullptr;", "}", "}", "};"]


def _traces(circuit: Circuit, pins: dict[Bit, int]) -> list[str]:
    bits = [_places(nets, pins) for nets in circuit.traces.values()]
    return [f"static const std::vector<uint16_t> TRACES[] = {{{', '.join(bits)}}};"]
