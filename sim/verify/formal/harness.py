"""A block among assumptions about what surrounds it and assertions about what it does."""

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any
from unittest import mock

from amaranth.hdl import (
    Assert,
    Assume,
    ClockDomain,
    Const,
    Module,
    Shape,
    Signal,
    Value,
)
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Flow

from trilight.sw.errors import SimulationError

from .variant import Gateware

__all__ = ["Harness", "at_most", "count_while", "implies", "ranked"]

# Not in the stubs of Amaranth, or without types there.
rtlil = import_module("amaranth.back.rtlil")
fragment_of: Callable[[Any, None], Any] = import_module("amaranth.hdl").Fragment.get

TOP = "harness"


class Harness:
    """A block with free inputs, whose inside can be looked at.

    Parameters
    ----------
    block
        All of its inputs take any value in any cycle, unless the harness assigns to them.
    gateware
        That the block is part of.

    Attributes
    ----------
    m : Module
        Takes the harness' own logic. It has no reset; registers begin with their initial values.
    machines : list of OneHotFSM
        State machines of the block, in the order of their making.
    started : Signal
        0 in the first cycle, 1 after it.
    """

    def __init__(self, block: "wiring.Component[Any]", gateware: Gateware) -> None:
        self.m = Module()
        self._domain = ClockDomain("sync", reset_less=True)
        self.m.domains += self._domain
        self.machines: list[Any] = []
        with self._recorded_machines(gateware):
            self._fragment = fragment_of(block, None)
        self.m.submodules.dut = self._fragment
        self._gone: list[Any] = []
        self._lemmas = Signal(name="lemmas")
        self._ports: list[Value] = [*_members(block, Flow.In)]
        self.started = Signal()
        self.m.d.sync += self.started.eq(1)
        for machine in self.machines:
            self.claim(_is_one_hot(machine.ongoing(name) for name in machine.names))

    def _recorded_machines(self, gateware: Gateware) -> Any:
        kind = gateware.module("lib.fsm").OneHotFSM
        make = kind.__init__

        def record(machine: Any, m: Module, *states: str) -> None:
            make(machine, m, *states)
            machine.names = states
            self.machines.append(machine)

        return mock.patch.object(kind, "__init__", record)

    def signal(self, path: str) -> Signal:
        """A signal inside the block that is no port, nor one of a submodule's: names of submodules
        and the signal, with dots between.

        Raises
        ------
        SimulationError
            There is none, or several have the name.
        """
        *blocks, name = path.split(".")
        fragment = self._find(blocks)
        components = [fragment.origins[0], *self._gone, *(
            entry[0].origins[0] for entry in fragment.subfragments if entry[0].origins)]
        ports = {id(port) for component in components if isinstance(component, wiring.Component)
                 for flow in Flow for port in _members(component, flow)}
        found = {id(signal): signal for signal in _signals(fragment)
                 if signal.name == name and id(signal) not in ports}
        if len(found) != 1:
            raise SimulationError(f"the block must have one signal {path}, not {len(found)}; "
                                  "follow the gateware in the harness")
        return next(iter(found.values()))

    def block(self, path: str) -> Any:
        """The component that a submodule was made from."""
        return self._find(path.split(".")).origins[0]

    def cut(self, *paths: str) -> None:
        """Take submodules away: their outputs take any value in any cycle."""
        for path in paths:
            names = path.split(".")
            parent, gone, component = self._find(names[:-1]), self._find(names), self.block(path)
            self._gone.append(component)
            parent.subfragments[:] = [
                entry for entry in parent.subfragments if entry[0] is not gone]
            if isinstance(component, Memory):
                self._ports += [Value.cast(port.data) for port in component.read_ports]
            else:
                self._ports += _members(component, Flow.Out)

    def free(self, shape: Any, name: str) -> Signal:
        """A value of the solver's choice in each cycle."""
        signal = Signal(shape, name=name)
        self._ports.append(signal)
        return signal

    def constant(self, shape: Any, name: str) -> Signal:
        """A value of the solver's choice that never changes."""
        signal = self.free(shape, name)
        before = self.register(signal)
        self.assume(~self.started | (signal == before))
        return signal

    def register(self, value: Value, name: str | None = None) -> Signal:
        """The value of the cycle before; 0 in the first."""
        before = Signal(Shape.cast(Value.cast(value).shape()), name=name)
        self.m.d.sync += before.eq(value)
        return before

    def claim(self, condition: Any) -> None:
        """Assert that a condition holds in every cycle."""
        self.m.d.comb += Assert(condition)

    def lemma(self, condition: Any) -> None:
        """Assert what is true of every state that can be reached, for the sake of an induction.

        A fault has to refute a claim, not a lemma.
        """
        self.claim(~self._lemmas | condition)

    def assume(self, condition: Any) -> None:
        """Look only at runs in which a condition holds in every cycle."""
        self.m.d.comb += Assume(condition)

    def claim_stream(self, given: "stream.Interface") -> None:
        """Assert the contract of a stream that the block gives: see ``assume_stream``."""
        self.claim(self._kept(given))

    def assume_stream(self, taken: "stream.Interface") -> None:
        """Assume of a stream that the block takes: what is valid stays, as it is, until ready."""
        self.assume(self._kept(taken))

    def claim_offered(self, given: "stream.Interface") -> None:
        """Assert of a stream that the block gives: what is valid stays so until ready, though it
        may change."""
        self.claim(self._offered(given))

    def assume_offered(self, taken: "stream.Interface") -> None:
        """Assume that of a stream that the block takes."""
        self.assume(self._offered(taken))

    def _offered(self, given: "stream.Interface") -> Value:
        return ~self.register(given.valid & ~given.ready) | given.valid

    def _kept(self, given: "stream.Interface") -> Value:
        payload = Value.cast(given.payload)
        waited = self.register(given.valid & ~given.ready)
        return self._offered(given) & (~waited | (payload == self.register(payload)))

    def answers_within(self, asked: Value, answered: Value, maximum: int, name: str) -> None:
        """Assume that an answer comes at most ``most`` cycles after it was asked for."""
        waiting = count_while(self, asked & ~answered, maximum + 1, name)
        self.assume(waiting <= maximum)

    def rtlil(self, *, lemmas: bool) -> str:
        """The whole of it in Yosys' own language, with its lemmas or without."""
        self.m.d.comb += self._lemmas.eq(lemmas)
        ports = list({id(port): port for port in self._ports}.values())
        text: str = rtlil.convert(self.m, name=TOP, emit_src=False, ports=[
            self._domain.clk, *(port for port in ports if len(port))])
        return text

    def _find(self, blocks: list[str]) -> Any:
        fragment = self._fragment
        for block in blocks:
            inner = [entry[0] for entry in fragment.subfragments if entry[1] == block]
            if len(inner) != 1:
                raise SimulationError(f"the block must have a submodule {block}; follow the "
                                      "gateware in the harness")
            fragment = inner[0]
        return fragment


def count_while(harness: Harness, condition: Value, maximum: int, name: str) -> Signal:
    """For how many cycles a condition has held without a break; stays at ``most``."""
    count = Signal(range(maximum + 1), name=name)
    with harness.m.If(~condition):
        harness.m.d.sync += count.eq(0)
    with harness.m.Elif(count != maximum):
        harness.m.d.sync += count.eq(count + 1)
    return count


def implies(condition: Value, claim: Value) -> Value:
    """Tell if a claim, one bit, holds where a condition does."""
    return ~condition | claim


def ranked(harness: Harness, machine: Any, ranks: "dict[str, Value | int]", name: str) -> Signal:
    """The number that a state machine's present state is given, 0 in those that are not named."""
    rank = Signal(16, name=name)
    for state, value in ranks.items():
        with harness.m.If(machine.ongoing(state)):
            harness.m.d.comb += rank.eq(value)
    return rank


def at_most(signed_value: Value, magnitude: Any) -> Value:
    """Tell if a signed value lies within ± a magnitude."""
    return (signed_value <= magnitude) & (signed_value >= -magnitude)


def _members(component: "wiring.Component[Any]", flow: Flow) -> list[Signal]:
    """Signals of an interface that flow into the component, or out of it."""
    return [signal for _, member, value in component.signature.flatten(component)
            if member.flow is flow and isinstance(signal := Value.cast(value), Signal)]


def _is_one_hot(states: Iterable[Value]) -> Value:
    states = list(states)
    return sum(states, Const(0)) == 1


def _signals(fragment: Any) -> Iterator[Signal]:
    for statements in fragment.statements.values():
        for statement in statements:
            yield from statement._lhs_signals()
            yield from statement._rhs_signals()
