"""Sampling without exponential, sum or division: the largest of logits plus Gumbel noise."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .contract.device import Device
from .contract.numbers import NUMBERS
from .interfaces import (
    LOGIT_LATENCY,
    LogitSignature,
    SamplingSignature,
    TableWriteSignature,
)
from .lib.arith import Multiplier, add_carry, round_add
from .lib.select import numbered

__all__ = ["Rng", "Sampler"]


class Rng(wiring.Component):
    """Linear recurrences over GF(2) of ``docs/number-formats.md``, a draw's bits at a time.

    Parameters
    ----------
    sequences : int
        Number of independent states.
    draw_bits : int
        Bits of a draw, at most 25: as far as no tap reaches past the state.

    Members
    -------
    load, load_sequence : In
        Take ``seed`` as a state; zero, the fixed point, becomes ``NUMBERS.rng_zero_seed``.
    seed : In(32)
    step, sequence : In
        Move a state on by a draw.
    value : Out
        The draw of the state of ``sequence``.
    """

    def __init__(self, sequences: int = 1, draw_bits: int = NUMBERS.rng_step) -> None:
        self._sequences = sequences
        self._draw_bits = draw_bits
        bits = (sequences - 1).bit_length()
        super().__init__({
            "load": In(1),
            "load_sequence": In(bits),
            "seed": In(NUMBERS.rng_bits),
            "step": In(1),
            "sequence": In(bits),
            "value": Out(draw_bits),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        n = NUMBERS
        states = numbered(Signal(n.rng_bits, name=f"state_{k}", init=n.rng_zero_seed)
                          for k in range(self._sequences))
        # No tap reaches past the state within a draw, so the new bits need no recursion.
        step = self._draw_bits
        low = Signal(step + max(n.rng_taps))
        m.d.comb += low.eq(states[self.sequence])
        fresh = [Cat(low[k + tap] for tap in n.rng_taps).xor() for k in range(step)]
        m.d.comb += self.value.eq(low)
        for k, state in enumerate(states):
            with m.If(self.step & (self.sequence == k)):
                m.d.sync += state.eq(Cat(state[step:], *fresh))
            with m.If(self.load & (self.load_sequence == k)):
                m.d.sync += state.eq(self.seed)
                with m.If(self.seed == 0):
                    m.d.sync += state.eq(n.rng_zero_seed)
        return m


class Sampler(wiring.Component):
    """``token = argmax(logit + rshift(temperature * GUMBEL[u], 10))``, the lowest winning ties.

    Takes a logit per cycle; ``done`` comes two cycles after the last, and only then may the
    next token's draws begin.

    Members
    -------
    logits : In(LogitSignature)
        The generator of a sequence steps with each draw.
    sampling : In(SamplingSignature)
        ``token`` holds until the next token's first draw.
    done : Out(1)
        Pulse: ``token`` has changed.
    write_gumbel : In(TableWriteSignature)
    """

    def __init__(self, *, device: Device) -> None:
        self._token_bits = device.token_bits
        self._sequences = device.sequences
        self._noise = device.noise
        super().__init__({
            "logits": In(LogitSignature(device)),
            "sampling": In(SamplingSignature(device)),
            "done": Out(1),
            "write_gumbel": In(TableWriteSignature(device.noise.entries)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        n = NUMBERS
        logits = self.logits.logits
        m.submodules.rng = rng = Rng(self._sequences, self._noise.draw_bits)
        m.d.comb += [
            rng.load.eq(self.sampling.load_seed),
            rng.load_sequence.eq(self.sampling.seed_sequence),
            rng.sequence.eq(self.logits.sequence),
            rng.seed.eq(self.sampling.seed),
            rng.step.eq(self.logits.draw),
        ]

        # 0: look up; 1, 2: multiply; 3: round, so that noise is there at LOGIT_LATENCY = 4
        m.submodules.gumbel = gumbel = Memory(
            shape=signed(self._noise.value_bits), depth=self._noise.entries, init=[])
        read = gumbel.read_port()
        write = gumbel.write_port()
        m.d.comb += [
            read.addr.eq(self._index(rng.value)),
            read.en.eq(self.logits.draw),
            write.addr.eq(self.write_gumbel.addr),
            write.data.eq(self.write_gumbel.data),
            write.en.eq(self.write_gumbel.en),
        ]
        m.submodules.scale = scale = Multiplier(
            a_width=self._noise.value_bits, b_width=n.temperature_bits + 1)
        m.d.comb += [
            scale.a.eq(read.data),
            scale.b.eq(Cat(self.sampling.temperature, Const(0, 1)).as_signed()),
        ]
        noise_bits = len(scale.p) - n.noise_shift + 1
        noise = Signal(signed(noise_bits), reset_less=True)
        m.d.sync += noise.eq(round_add(scale.p, n.noise_shift, Const(0, 1), width=noise_bits))
        assert LOGIT_LATENCY == 4

        score_bits = n.logit_bits + 1
        score = Signal(signed(score_bits + 1), reset_less=True)
        best = Signal(signed(score_bits), reset_less=True)
        index = Signal(self._token_bits)
        best_index = Signal(self._token_bits, reset_less=True)
        arrived = Signal()
        last = Signal(reset_less=True)
        # A score below all others stands where there is none, and before a token's first one above
        # all others, which takes the place of the best so far: so the comparison alone decides.
        least = -1 << score_bits - 1
        most = 1 << score_bits - 1
        first = Signal(init=1)
        m.d.sync += [
            score.eq(logits.payload.value + noise),
            arrived.eq(logits.valid),
            last.eq(logits.payload.last),
            self.done.eq(arrived & last),
        ]
        m.d.comb += self.sampling.token.eq(best_index)
        with m.If(~logits.valid):
            m.d.sync += score.eq(Mux(self.logits.draw & first, most, least))
        with m.If(self.logits.draw):
            m.d.sync += first.eq(0)
        with m.If(arrived):
            m.d.sync += index.eq(Mux(last, 0, index + 1))
        # As a difference, for its carry chain; a comparison would become a tree of logic.
        difference = add_carry(best, ~score, Const(1, 1), width=score_bits + 2)
        with m.If(difference[-1]):
            over = ~score[-1] & score[-2]
            m.d.sync += [best.eq(Mux(over, least, score)), best_index.eq(index)]
        with m.If(self.done):
            m.d.sync += first.eq(1)
        return m

    def _index(self, draw: Value) -> Value:
        """Entry of a draw, see ``NoiseFormat.index``."""
        noise = self._noise
        if not noise.mantissa_bits:
            return draw
        index: Value = Const(0, noise.index_bits)
        for zeros in reversed(range(noise.draw_bits)):
            one = noise.draw_bits - 1 - zeros
            behind = Cat(Const(0, noise.mantissa_bits), draw[:one])[-noise.mantissa_bits:]
            here = Cat(behind, Const(zeros, noise.index_bits - noise.mantissa_bits))
            index = here if one == 0 else Mux(draw[one], here, index)
        return index
