"""Buffer of weight words from outside: read ahead, and read once for several sequences."""

from amaranth.hdl import Array, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from trilight.hw.contract.device import Device
from trilight.hw.interfaces import RoundSignature, WeightStreamSignature

from .ring import RingMemory

__all__ = ["ReadSignature", "WeightBuffer"]


class ReadSignature(wiring.Signature):
    """Reading of words from outside, one after the other, as the reader sees it.

    Members
    -------
    wants : Out(1)
        Words are wanted, from ``word`` on. It may rest between two words.
    word : Out
        Number of the word that is wanted next; it counts on with each word taken.
    moves : Out(1)
        Pulse: ``word`` will be another from the next cycle on; a word that comes now is none.
    valid, payload : In(1), In
        The word.
    ready : Out(1)
    """

    def __init__(self, device: Device) -> None:
        super().__init__({
            "wants": Out(1),
            "word": Out(device.address_bits),
            "moves": Out(1),
            "valid": In(1),
            "ready": Out(1),
            "payload": In(device.packing.word_bits),
        })


class WeightBuffer(wiring.Component):
    """Stream weight words in the program's order through a ring of ``Device.buffer_words``.

    Words are read ahead for as long as there is room, across operations and tokens: after the last
    operation comes word 0, for the next round of tokens is of the same words. Whether a round has a
    head is known in its course, and it is not read before.

    Words that will be asked for again stay until the operation is over for the last sequence; in
    the meantime those of the next one come in behind them. So the halves of this double buffer are
    as long as the operations are. An operation that is longer than the ring does not stay, and is
    read from outside for each sequence.

    The word that comes from outside in a cycle can be transferred in the next.

    Members
    -------
    words : Out(WeightStreamSignature)
    read : Out(ReadSignature)
    rounds : In(RoundSignature)
    running : In(1)
        Without it the buffer is empty, and begins anew with word 0.
    last_word : In
        The last word of the head.
    stalled : Out(1)
        The engine waits for a word.
    """

    words: wiring.PureInterface
    read: wiring.PureInterface
    rounds: wiring.PureInterface
    running: Signal
    last_word: Signal
    stalled: Signal

    def __init__(self, *, device: Device) -> None:
        self._device = device
        super().__init__({
            "words": Out(WeightStreamSignature(device)),
            "read": Out(ReadSignature(device)),
            "rounds": In(RoundSignature(device)),
            "running": In(1),
            "last_word": In(device.address_bits),
            "stalled": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        words, read = self.words, self.read
        m.submodules.ring = ring = RingMemory(device=self._device)
        bits = self._device.buffer_bits + 1  # the highest tells full from empty
        begin, end, kept = (Signal(bits, name=name) for name in ("begin", "end", "kept"))
        keeps, lost = Signal(), Signal()
        full, empty = Signal(), Signal()
        tail = Mux(keeps, kept, begin)
        taken, comes, arrives = Signal(), Signal(), Signal()
        again, rewinds = self._add_jumps(m, taken)
        back = again & lost
        m.d.comb += [
            empty.eq(begin == end),
            full.eq((end ^ tail) == 1 << bits - 1),
            comes.eq(read.valid & read.ready),
            arrives.eq(comes & ~read.moves),
            words.valid.eq(~empty & ~(comes & RingMemory.has_one_port(self._device))),
            taken.eq(words.valid & words.ready),
            words.payload.eq(ring.data),
            self.stalled.eq(words.ready & ~words.valid),
            ring.read.eq(taken), ring.read_addr.eq(begin),
            ring.write.eq(arrives), ring.write_addr.eq(end), ring.write_data.eq(read.payload),
        ]
        opens = taken & words.opens
        with m.If(arrives):
            m.d.sync += end.eq(end + 1)
        with m.If(taken):
            m.d.sync += begin.eq(begin + 1)
        with m.If(opens):
            m.d.sync += [kept.eq(begin), keeps.eq(words.keeps), lost.eq(0)]
        with m.If(again):
            m.d.sync += begin.eq(kept)
        with m.If(keeps & full & empty & words.ready):
            m.d.sync += [keeps.eq(0), lost.eq(1)]
        with m.If(back | ~self.running):
            m.d.sync += [begin.eq(0), end.eq(0), keeps.eq(0), lost.eq(0)]
        self._add_reading(m, arrives, full, opens, taken, rewinds, back)
        return m

    def _add_jumps(self, m: Module, taken: Signal) -> tuple[Value, Signal]:
        """Add what the engine asks for besides the next word; return replays and rewinds."""
        words = self.words
        fresh = Signal(init=1)  # the first operation of a run begins with word 0 anyway
        jumps = (taken | words.rests) & words.jumps
        rewinds = Signal()
        m.d.comb += rewinds.eq(jumps & words.rewinds & ~fresh)
        with m.If(~self.running):
            m.d.sync += fresh.eq(1)
        with m.Elif(jumps):
            m.d.sync += fresh.eq(0)
        return jumps & ~words.rewinds, rewinds

    def _add_reading(self, m: Module, arrives: Signal, full: Signal, opens: Value, taken: Signal,
                     rewinds: Signal, back: Value) -> None:
        """Add the numbers of words: of the one that comes next, and of the one that goes next."""
        read, rounds = self.read, self.rounds
        coming, going, first = (Signal.like(read.word, name=name)
                                for name in ("coming", "going", "first"))
        in_round, going_round, decided_round = Signal(), Signal(), Signal()
        known = Array(Signal(name=f"known_{k}") for k in range(2))
        heads = Array(Signal(name=f"head_{k}") for k in range(2))
        at_head, at_end, ready = Signal(), Signal(), Signal()
        wraps, goes_on = Signal(), Signal()
        m.d.comb += [
            goes_on.eq(at_head & known[in_round] & heads[in_round]),
            wraps.eq((at_head & known[in_round] & ~heads[in_round]) | at_end),
            read.word.eq(coming),
            read.moves.eq(wraps | back),
            ready.eq(self.running & ~full & ~at_head & ~at_end),
            read.ready.eq(ready),
            read.wants.eq(self.running & ~at_head & ~at_end),
        ]
        with m.If(rounds.decided):
            m.d.sync += [known[decided_round].eq(1), heads[decided_round].eq(rounds.head),
                         decided_round.eq(~decided_round)]
        with m.If(arrives):
            m.d.sync += [coming.eq(coming + 1), at_head.eq(coming + 1 == rounds.head_word),
                         at_end.eq(coming == self.last_word)]
        with m.If(goes_on):
            m.d.sync += at_head.eq(0)
        with m.If(wraps):
            m.d.sync += [coming.eq(0), at_head.eq(0), at_end.eq(0), in_round.eq(~in_round)]

        with m.If(taken):
            m.d.sync += going.eq(going + 1)
        with m.If(opens):
            m.d.sync += first.eq(going)
        with m.If(rewinds):
            m.d.sync += [going.eq(0), known[going_round].eq(0), going_round.eq(~going_round)]
        again = (taken | self.words.rests) & self.words.jumps & ~self.words.rewinds
        with m.If(again):
            m.d.sync += going.eq(first)
        with m.If(back):
            m.d.sync += [coming.eq(first), at_head.eq(first == rounds.head_word), at_end.eq(0),
                         in_round.eq(going_round)]
        with m.If(~self.running):
            m.d.sync += [coming.eq(0), going.eq(0), at_head.eq(0), at_end.eq(0), in_round.eq(0),
                         going_round.eq(0), decided_round.eq(0),
                         *(flag.eq(0) for flag in known)]
