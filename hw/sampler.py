"""Sampling without exponential, sum or division: the largest of logits plus Gumbel noise."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.device import Device
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.lib.arith import Multiplier, add_carry, round_add
from trilight.hw.vector.unit import LOGIT, LOGIT_LATENCY, TABLE_WRITE

__all__ = ["Rng", "Sampler"]


class Rng(wiring.Component):
    """Linear recurrences over GF(2) of ``docs/number-formats.md``, eight steps at a time.

    Parameters
    ----------
    sequences : int
        Number of independent states.

    Members
    -------
    load, load_sequence : In
        Take ``seed`` as a state; zero, the fixed point, becomes ``NUMBERS.rng_zero_seed``.
    seed : In(32)
    step, sequence : In
        Move a state on by eight bits.
    value : Out(8)
        Of the state of ``sequence``.
    """

    load: Signal
    load_sequence: Signal
    seed: Signal
    step: Signal
    sequence: Signal
    value: Signal

    def __init__(self, sequences: int = 1) -> None:
        self._sequences = sequences
        bits = (sequences - 1).bit_length()
        super().__init__({
            "load": In(1),
            "load_sequence": In(bits),
            "seed": In(NUMBERS.rng_bits),
            "step": In(1),
            "sequence": In(bits),
            "value": Out(NUMBERS.rng_step),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        n = NUMBERS
        states = Array(Signal(n.rng_bits, name=f"state_{k}", init=n.rng_zero_seed)
                       for k in range(self._sequences))
        # No tap reaches past the state within eight steps, so the new bits need no recursion.
        low = Signal(n.rng_step + max(n.rng_taps))
        m.d.comb += low.eq(states[self.sequence])
        fresh = [Cat(low[k + tap] for tap in n.rng_taps).xor() for k in range(n.rng_step)]
        m.d.comb += self.value.eq(low)
        for k, state in enumerate(states):
            with m.If(self.step & (self.sequence == k)):
                m.d.sync += state.eq(Cat(state[n.rng_step:], *fresh))
            with m.If(self.load & (self.load_sequence == k)):
                m.d.sync += state.eq(self.seed)
                with m.If(self.seed == 0):
                    m.d.sync += state.eq(n.rng_zero_seed)
        return m


class Sampler(wiring.Component):
    """``token = argmax(logit + rshift(temperature * GUMBEL[u], 10))``, the lowest winning ties.

    Takes a logit per cycle; ``token`` is valid two cycles after the last, and only then may the
    next token's draws begin.

    Members
    -------
    draw : In(1)
        A logit comes ``LOGIT_LATENCY`` cycles later; the generator steps.
    logits : In(stream of LOGIT, always ready)
    temperature : In(11)
        Q3.8.
    sequence : In
        Whose generator steps.
    seed, seed_sequence, load_seed : In
    token : Out(stream of the index, always ready)
        The payload holds until the next token's first draw.
    write_gumbel : In(1)
        Write ``table`` to the noise table.
    table : In(TABLE_WRITE)
    """

    draw: Signal
    logits: stream.Interface
    temperature: Signal
    sequence: Signal
    seed: Signal
    seed_sequence: Signal
    load_seed: Signal
    token: stream.Interface
    write_gumbel: Signal
    table: data.View

    def __init__(self, *, device: Device) -> None:
        self._token_bits = (device.max_vocab - 1).bit_length()
        self._sequences = device.sequences
        sequence_bits = (device.sequences - 1).bit_length()
        super().__init__({
            "draw": In(1),
            "logits": In(stream.Signature(LOGIT, always_ready=True)),
            "temperature": In(NUMBERS.temperature_bits),
            "sequence": In(sequence_bits),
            "seed": In(NUMBERS.rng_bits),
            "seed_sequence": In(sequence_bits),
            "load_seed": In(1),
            "token": Out(stream.Signature(unsigned(self._token_bits), always_ready=True)),
            "write_gumbel": In(1),
            "table": In(TABLE_WRITE),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        n = NUMBERS
        m.submodules.rng = rng = Rng(self._sequences)
        m.d.comb += [
            rng.load.eq(self.load_seed),
            rng.load_sequence.eq(self.seed_sequence),
            rng.sequence.eq(self.sequence),
            rng.seed.eq(self.seed),
            rng.step.eq(self.draw),
        ]

        # 0: look up; 1, 2: multiply; 3: round, so that noise is there at LOGIT_LATENCY = 4
        m.submodules.gumbel = gumbel = Memory(
            shape=signed(n.gumbel_bits), depth=1 << n.rng_step, init=[])
        read = gumbel.read_port()
        write = gumbel.write_port()
        m.d.comb += [
            read.addr.eq(rng.value),
            read.en.eq(self.draw),
            write.addr.eq(self.table.addr),
            write.data.eq(self.table.data),
            write.en.eq(self.write_gumbel),
        ]
        m.submodules.scale = scale = Multiplier(
            a_width=n.gumbel_bits, b_width=n.temperature_bits + 1)
        m.d.comb += [
            scale.a.eq(read.data),
            scale.b.eq(Cat(self.temperature, Const(0, 1)).as_signed()),
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
            score.eq(self.logits.payload.value + noise),
            arrived.eq(self.logits.valid),
            last.eq(self.logits.payload.last),
            self.token.valid.eq(arrived & last),
        ]
        m.d.comb += self.token.payload.eq(best_index)
        with m.If(~self.logits.valid):
            m.d.sync += score.eq(Mux(self.draw & first, most, least))
        with m.If(self.draw):
            m.d.sync += first.eq(0)
        with m.If(arrived):
            m.d.sync += index.eq(Mux(last, 0, index + 1))
        # As a difference, for its carry chain; a comparison would become a tree of logic.
        difference = add_carry(best, ~score, Const(1, 1), width=score_bits + 2)
        with m.If(difference[-1]):
            over = ~score[-1] & score[-2]
            m.d.sync += [best.eq(Mux(over, least, score)), best_index.eq(index)]
        with m.If(self.token.valid):
            m.d.sync += first.eq(1)
        return m
