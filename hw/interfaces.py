"""Interfaces between the blocks: signatures by name, and the layouts of what they carry.

Neither side of an interface owns it, so both import it from here. A signature is written as its
driver sees it; the other side takes it with ``In``. Widths follow from the device.
"""

from amaranth.hdl import ShapeLike, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .contract.device import Device
from .contract.numbers import NUMBERS
from .contract.program import Op
from .contract.protocol import (
    BIASES,
    REGION_BITS,
    TERMINAL,
    WORD_BYTES,
    Region,
    RunFlag,
)
from .vector import timing

__all__ = [
    "ACTIVATION",
    "BUS_BITS",
    "CHANNEL",
    "LOGIT",
    "LOGIT_LATENCY",
    "ActivationSignature",
    "BiasAccessSignature",
    "BusSignature",
    "ContextSignature",
    "EmbeddingSignature",
    "FetchSignature",
    "HeadBiasSignature",
    "LearningSignature",
    "LogitSignature",
    "MemorySignature",
    "OperationSignature",
    "OutsideSignature",
    "ProgramSignature",
    "RoundSignature",
    "RunSignature",
    "SamplingSignature",
    "StatusSignature",
    "TableWriteSignature",
    "TapeSignature",
    "WeightStreamSignature",
    "bus_address_bits",
    "context_layout",
    "extra_regions",
    "operation_layout",
    "outside_request_layout",
    "outside_word_layout",
    "region_number",
    "regions_on_bus",
    "row_layout",
    "run_flags",
    "run_layout",
    "token_event_layout",
    "token_events",
    "vector_layout",
    "weight_words_on_bus",
]

BUS_BITS = 8 * WORD_BYTES
"""Bits of a word of the bus."""


# ---- Host side: between the link and the core


def weight_words_on_bus(device: Device) -> int:
    """16-bit words of the weight memory."""
    return device.weight_words * device.packing.word_units


def bus_address_bits(device: Device) -> int:
    """Bits of a word's address in its region: what the largest memory needs."""
    depths = (weight_words_on_bus(device), device.program_words, device.max_channels,
              device.sequences * device.tape_tokens, 1 << NUMBERS.index_bits,
              *device.adapt_depths)
    return max((depth - 1).bit_length() for depth in depths)


def regions_on_bus(device: Device) -> int:
    """Numbers of a device's regions besides the weights, unused ones included."""
    used = [region.number for region in Region if region is not Region.WEIGHTS]
    return 1 + max(used + extra_regions(device))


def extra_regions(device: Device) -> list[int]:
    """Numbers of the regions that not every device has: learnt biases, tables of a terminal."""
    biases = [region_number(address) for address, _ in zip(
        BIASES, device.adapt_depths, strict=False)]
    return biases + ([region_number(TERMINAL)] if device.terminal else [])


def region_number(address: int) -> int:
    """Return the number of the region that begins at an address, from ``Region.PROGRAM`` on."""
    return (address - Region.PROGRAM) >> REGION_BITS


class BusSignature(wiring.Signature):
    """Access to the device's memories, one 16-bit word at a time; ``docs/protocol.md`` has the map.

    Members
    -------
    to_weights, region, address : Out
        Word of the weight memory, or else number of another region, and word in it.
    data, write : Out(16), Out(1)
        Pulse ``write``: write ``data`` to that word.
    read : Out(1)
        Pulse: read that word; its address holds until the answer.
    read_data, read_valid : In(16), In(1)
        Answer to a read, in the one cycle of the pulse ``read_valid``.
    """

    def __init__(self, device: Device) -> None:
        super().__init__({
            "to_weights": Out(1),
            "region": Out(range(regions_on_bus(device))),
            "address": Out(bus_address_bits(device)),
            "data": Out(BUS_BITS),
            "write": Out(1),
            "read": Out(1),
            "read_data": In(BUS_BITS),
            "read_valid": In(1),
        })


def run_flags(device: Device) -> list[RunFlag]:
    """Flags of a RUN that a device knows."""
    return [flag for flag in RunFlag if flag is not RunFlag.ADAPT or device.adapt_orders]


def run_layout(device: Device) -> data.StructLayout:
    """Payload of an accepted RUN; see ``trilight.hw.contract.protocol.RUN``."""
    return data.StructLayout({
        "flags": max(flag.bit_length() for flag in run_flags(device)),
        "sequence": device.sequence_bits,
        "n_feed": 16,
        "n_generate": 16,
        "temperature": NUMBERS.temperature_bits,
        "seed": NUMBERS.rng_bits,
    })


class RunSignature(wiring.Signature):
    """Start and end of runs.

    Members
    -------
    request : Out(stream of run_layout)
        Taken while no run is in progress.
    stop : Out(1)
        Pulse: end the run after the token in progress.
    """

    def __init__(self, device: Device) -> None:
        super().__init__({"request": Out(stream.Signature(run_layout(device))), "stop": Out(1)})


class StatusSignature(wiring.Signature):
    """Progress of a run.

    Members
    -------
    running : Out(1)
    positions : Out(array of 16)
        Tokens of each sequence fed since its state was reset, modulo 65536.
    cycles, words, tokens : Out(32)
        Cycles running, weight words used and tokens fed since the last clear.
    """

    def __init__(self, device: Device) -> None:
        super().__init__({
            "running": Out(1),
            "positions": Out(data.ArrayLayout(16, device.sequences)),
            "cycles": Out(32),
            "words": Out(32),
            "tokens": Out(32),
        })


def token_event_layout(device: Device) -> data.StructLayout:
    """Event of a generated token: its position in its sequence, and the token."""
    return data.StructLayout({"position": 16, "token": device.token_bits})


def token_events(device: Device) -> wiring.Member:
    """Array of streams of token events, one for each sequence, as the core drives them."""
    return Out(stream.Signature(token_event_layout(device))).array(device.sequences)


class TableWriteSignature(wiring.Signature):
    """Write port of a parameter memory: pulse ``en`` writes ``data`` to entry ``addr``."""

    def __init__(self, entries: int) -> None:
        super().__init__({"addr": Out(range(entries)), "data": Out(BUS_BITS), "en": Out(1)})


# ---- Sequencer to its memories


class ProgramSignature(wiring.Signature):
    """Read port of the program memory; ``data`` follow one cycle after ``addr``."""

    def __init__(self, device: Device) -> None:
        super().__init__({
            "addr": Out(device.program_bits),
            "data": In(BUS_BITS),
        })


class TapeSignature(wiring.Signature):
    """Port of the token buffers, those of all sequences in one memory.

    Members
    -------
    addr : Out
        Position modulo the buffer's size, then the number of the sequence.
    read_ready, read_data : In
        A read is taken in a cycle with ``read_ready``; its data follow one cycle later.
    write, write_data : Out
        Pulse ``write``: write a token to ``addr``.
    """

    def __init__(self, device: Device) -> None:
        super().__init__({
            "addr": Out(device.tape_bits + device.sequence_bits),
            "read_ready": In(1),
            "read_data": In(device.token_bits),
            "write": Out(1),
            "write_data": Out(device.token_bits),
        })


# ---- Sequencer to engine, vector unit and sampler


def vector_layout(device: Device) -> data.StructLayout:
    """Input vector of an operation: blocks of columns - 1, short words, sequence."""
    packing = device.packing
    most = -(-device.max_columns // (packing.short_trits * packing.lanes))
    return data.StructLayout({
        "blocks": (most - 1).bit_length(),
        "short": 1,
        "sequence": device.sequence_bits,
    })


def operation_layout(device: Device) -> data.StructLayout:
    """Operation of the engine: its input vector, rows - 1, and where its weight words are.

    They follow those of the operation before, or (``replay``) are the same ones once more, or
    (``rewind``) begin at word 0. ``keeps``, of a device whose weights stream from outside: the next
    operation will ask for the same ones.
    """
    return data.StructLayout({
        "vector": vector_layout(device),
        "rows": device.row_bits,
        "replay": 1,
        "rewind": 1,
        **({"keeps": 1} if device.streamed else {}),
    })


class OperationSignature(wiring.Signature):
    """Hand-over of operations to the engine.

    Members
    -------
    ops : Out(stream of operation_layout)
        Taken when the tables of the operation before have filled.
    rows_enabled : Out(1)
        Rows of the operation in progress may be emitted.
    ends : In(1)
        Pulse: the last word of the operation in progress is issued.
    word_used : In(1)
        A weight word of an operation is read in this cycle.
    """

    def __init__(self, device: Device) -> None:
        super().__init__({
            "ops": Out(stream.Signature(operation_layout(device))),
            "rows_enabled": Out(1),
            "ends": In(1),
            "word_used": In(1),
        })


class RoundSignature(wiring.Signature):
    """News of a round of operations for a source of weight words that reads ahead.

    Members
    -------
    decided : Out(1)
        Pulse, once in each round, before its second operation is handed over.
    head : Out(1)
        The round has a head; with ``decided``.
    head_word : Out
        First word of the head.
    """

    def __init__(self, device: Device) -> None:
        super().__init__({
            "decided": Out(1), "head": Out(1), "head_word": Out(device.address_bits)})


class EmbeddingSignature(wiring.Signature):
    """Request for one row of the embedding.

    Members
    -------
    start : Out(1)
        Pulse: look up. The other members hold until the last channel is out.
    token : Out
    base, stride : Out
        Block b of the token's row is weight word ``base + b * stride + token``.
    channels : Out
        Number of channels - 1.
    scale : Out
        Q5.6.
    short : Out(1)
        The embedding's weight words are short.
    """

    def __init__(self, device: Device) -> None:
        super().__init__({
            "start": Out(1),
            "token": Out(device.token_bits),
            "base": Out(device.address_bits),
            "stride": Out(device.max_rows.bit_length()),
            "channels": Out(device.column_bits),
            "scale": Out(NUMBERS.residual_bits - 1),
            "short": Out(1),
        })


def context_layout(device: Device) -> data.StructLayout:
    """Context of an operation's rows, or of an embedding's channels.

    ``replay``: the operation before was the same one for another sequence. ``first``: the operation
    is the first of a token. ``zero_state``: the recurrent state counts as zero, as the token is the
    first after a reset. ``discard``: no operation takes the results. ``act_short``: short words
    will look the results up.
    """
    return data.StructLayout({
        "kind": Op,
        "embedding": 1,
        "sequence": device.sequence_bits,
        "replay": 1,
        "first": 1,
        "zero_state": 1,
        "discard": 1,
        "act_short": 1,
    })


class ContextSignature(wiring.Signature):
    """Context of the operation in progress, for the vector unit.

    Members
    -------
    context : Out(context_layout)
    load : Out(1)
        Pulse in the first cycle of a new context, at least two before its first row or channel.
    scale, push_scale : Out(15), Out(1)
        Pulse ``push_scale``: take the next of an operation's three scales, after ``load``.
    not_total : In(15)
        ``~sum|q|`` of the last vector of the context's sequence.
    """

    def __init__(self, device: Device) -> None:
        super().__init__({
            "context": Out(context_layout(device)),
            "load": Out(1),
            "scale": Out(NUMBERS.scale_bits),
            "push_scale": Out(1),
            "not_total": In(device.norm_bits),
        })


class SamplingSignature(wiring.Signature):
    """Parameters of the sampler, and the token that it samples.

    Members
    -------
    temperature : Out(11)
        Q3.8.
    seed, seed_sequence, load_seed : Out
        Pulse ``load_seed``: seed the generator of a sequence.
    token : In
        Token sampled when the head is done, until the next head.
    """

    def __init__(self, device: Device) -> None:
        super().__init__({
            "temperature": Out(NUMBERS.temperature_bits),
            "seed": Out(NUMBERS.rng_bits),
            "seed_sequence": Out(device.sequence_bits),
            "load_seed": Out(1),
            "token": In(device.token_bits),
        })


# ---- Engine to vector unit and back, vector unit to sampler

def row_layout(device: Device) -> data.StructLayout:
    """Finished row: its dot product, and whether it is the operation's last."""
    return data.StructLayout({"sum": signed(device.acc_bits), "last": 1})


CHANNEL = data.StructLayout({"value": signed(NUMBERS.residual_bits), "last": 1})
"""Channel of the residual stream, channels in order."""

ACTIVATION = data.StructLayout({"value": signed(NUMBERS.act_bits), "last": 1})
"""Activation of a column, columns in order; ``last`` marks the end of the vector."""

LOGIT = data.StructLayout({"value": signed(NUMBERS.logit_bits), "last": 1})
"""Logit of a token, tokens in order."""


def _always_ready(payload: ShapeLike) -> wiring.Member:
    return Out(stream.Signature(payload, always_ready=True))


class ActivationSignature(wiring.Signature):
    """Activations on their way to the tables.

    Members
    -------
    acts : Out(stream of ACTIVATION, always ready)
    short : Out(1)
        Short words will look the vector up.
    sequence : Out
        Sequence of the vector.
    """

    def __init__(self, device: Device) -> None:
        super().__init__({
            "acts": _always_ready(ACTIVATION),
            "short": Out(1),
            "sequence": Out(device.sequence_bits),
        })


LOGIT_LATENCY = timing.LOGIT
"""Cycles from a draw to its logit."""


class LogitSignature(wiring.Signature):
    """Logits on their way to the sampler.

    Members
    -------
    draw : Out(1)
        A logit follows ``LOGIT_LATENCY`` cycles later: draw its noise.
    sequence : Out
        Sequence whose generator draws.
    logits : Out(stream of LOGIT, always ready)
    """

    def __init__(self, device: Device) -> None:
        super().__init__({
            "draw": Out(1),
            "sequence": Out(device.sequence_bits),
            "logits": _always_ready(LOGIT),
        })


class HeadBiasSignature(wiring.Signature):
    """Read port of the output biases; ``data`` follow one cycle after ``addr`` and ``read``.

    That of token t lies at ~t: they fill the program's memory from its end downwards.
    """

    def __init__(self, device: Device) -> None:
        super().__init__({
            "addr": Out(device.program_bits),
            "read": Out(1),
            "data": In(signed(NUMBERS.logit_bits)),
        })


# ---- Learning while reading


class LearningSignature(wiring.Signature):
    """Tokens of sequence 0 as they are fed, for the biases that are learnt while reading.

    Members
    -------
    enabled : Out(1)
        Biases are added, of the run in progress.
    begins : Out(1)
        Pulse: the context is forgotten, with the sequence's state.
    token, valid : Out, Out(1)
        Pulse ``valid``: a token is fed.
    reads : Out(1)
        The token after the present one comes from the host: it is learnt from.
    """

    def __init__(self, device: Device) -> None:
        super().__init__({
            "enabled": Out(1),
            "begins": Out(1),
            "token": Out(device.token_bits),
            "valid": Out(1),
            "reads": Out(1),
        })


class BiasAccessSignature(wiring.Signature):
    """Access of the host to a table of biases; ``read_data`` follow one cycle after ``read``."""

    def __init__(self, depth: int) -> None:
        super().__init__({
            "addr": Out(range(depth)),
            "read": Out(1),
            "read_data": In(signed(NUMBERS.adapt_bits)),
            "write": Out(1),
            "write_data": Out(signed(NUMBERS.adapt_bits)),
        })


# ---- Weight words on their way to the engine


class WeightStreamSignature(wiring.Signature):
    """Stream of weight words in the program's order, as its source sees it.

    Valid and ready are those of ``amaranth.lib.stream``: a word is transferred in a cycle with
    both. Its payload follows ``Device.read_latency`` cycles later, so that a memory with registers
    around it needs none for words that wait; with a latency of 0 this is a stream like any other.
    ::

        cycle      0      1      2      3
        valid      1      1      0      1
        ready      1      1      1      1
        transfer   w0     w1            w2
        payload                  w0     w1        at a latency of 2

    After an operation's last word come those of the next one, unless ``jumps`` asks for others.

    Members
    -------
    valid : Out(1)
        A word can be transferred. It may depend on ``FetchSignature.read``, and on nothing else of
        the same cycle.
    ready : In(1)
    payload : Out
        The word transferred last, ``Device.read_latency`` cycles after its transfer.
    opens : In(1)
        The word is an operation's first: the one that ``jumps`` can come back to.
    jumps, rewinds : In(1)
        With a transfer, or while the engine ``rests``: the next word is word 0 (``rewinds``), or
        once more the first one of the last operation, for another sequence.
    rests : In(1)
        No operation is in progress.
    keeps : In
        With ``opens``: the operation's words will be asked for once more. Of a device whose weights
        stream from outside only.
    """

    def __init__(self, device: Device) -> None:
        super().__init__({
            "valid": Out(1),
            "ready": In(1),
            "payload": Out(device.packing.word_bits),
            "opens": In(1),
            "jumps": In(1),
            "rewinds": In(1),
            "rests": In(1),
            **({"keeps": In(1)} if device.streamed else {}),
        })


class FetchSignature(wiring.Signature):
    """Reads of single words, as their source sees them; they go before the stream's.

    Members
    -------
    read : In(1)
    addr : In
    data : Out
        The word that was read, ``Device.read_latency`` cycles after ``read``.
    """

    def __init__(self, device: Device) -> None:
        super().__init__({
            "read": In(1),
            "addr": In(device.address_bits),
            "data": Out(device.packing.word_bits),
        })


class MemorySignature(wiring.Signature):
    """A weight memory as it sees itself: read as words, written as units of 16 bits.

    Members
    -------
    addr : In
        Word.
    read : In(1)
        Read enable; without it the memory rests.
    data : Out
        The word last read, ``Device.read_latency`` cycles after its address.
    write : In(1)
        Write ``unit_data`` to unit ``unit`` of the word; excludes ``read``. A memory may take three
        cycles for it, in which no other unit is written.
    unit : In
    unit_data : In(16)
    """

    def __init__(self, device: Device) -> None:
        super().__init__({
            "addr": In(device.address_bits),
            "read": In(1),
            "data": Out(-(-device.packing.word_bits // BUS_BITS) * BUS_BITS),
            "write": In(1),
            "unit": In(range(device.packing.word_units)),
            "unit_data": In(BUS_BITS),
        })


# ---- Weight words on their way from outside


TAG_BITS = 2


def outside_request_layout(device: Device) -> data.StructLayout:
    """Request to a memory outside the chip.

    ``write``: write ``data`` to unit ``unit``, 16 bits. Else: give words from the one that begins
    at ``unit`` on, one after the other, until the next request. Their ``tag`` is the request's.
    """
    unit_bits = (device.packing.word_units - 1).bit_length()
    return data.StructLayout({
        "write": 1,
        "tag": TAG_BITS,
        "unit": device.address_bits + unit_bits,
        "data": BUS_BITS,
    })


def outside_word_layout(device: Device) -> data.StructLayout:
    """Weight word from outside, with the tag of the request that it answers."""
    return data.StructLayout({"word": device.packing.word_bits, "tag": TAG_BITS})


class OutsideSignature(wiring.Signature):
    """A memory outside the chip, as the one who reads it sees it.

    Words that are not taken make the memory wait. Those of an older request may still come for a
    while after a new one.

    Members
    -------
    requests : Out(stream of outside_request_layout)
    words : In(stream of outside_word_layout)
    """

    def __init__(self, device: Device) -> None:
        super().__init__({
            "requests": Out(stream.Signature(outside_request_layout(device))),
            "words": In(stream.Signature(outside_word_layout(device))),
        })
