"""Registers that every sequence has of its own: what is left of its run, and how its token ends."""

from amaranth.hdl import Array, Module, Signal

from trilight.hw.contract.device import Device
from trilight.hw.lib.select import numbered

__all__ = ["Sequences"]


class Sequences:
    """Registers by sequence, added to a module.

    Attributes
    ----------
    requested : array of 1
        The sequence takes part in the next run.
    n_feed, n_generate : array of 16
        Tokens left to be fed, and to be generated.
    position : array of 16
    zero_state : array of 1
        The recurrent state counts as zero: no token was fed since the reset.
    active : array of 1
        The sequence takes part in the present round of operations.
    continues : array of 1
        The sequence takes part in the next round.
    samples, next_samples : array of 1
        The token after the present one, and after the next one, is sampled.
    learns : Signal
        The run is one of sequence 0 that learns while it reads.
    reads : Value
        It does, and the token after the present one comes from the host.
    heads : array of 1
        The present token gets logits: one that is sampled after, or that is learnt from.
    feeds_more, generates, generates_more : array of 1
        ``n_feed > 1``, ``n_generate > 0`` and ``n_generate > 1`` as of the cycle before, so that
        choices need not wait for the comparison.
    """

    def __init__(self, m: Module, device: Device) -> None:
        self.learns = Signal(name="learns")
        self.numbers = range(device.sequences)
        self.bits = device.sequence_bits
        self.requested = self._each(1, "requested")
        self.n_feed = self._each(16, "n_feed", reset_less=True)
        self.n_generate = self._each(16, "n_generate", reset_less=True)
        self.position = self._each(16, "position")
        self.zero_state = self._each(1, "zero_state", init=1)
        self.active = self._each(1, "active")
        self.continues = self._each(1, "continues")
        self.samples = self._each(1, "samples", reset_less=True)
        self.next_samples = self._each(1, "next_samples", reset_less=True)
        self.reads = self.learns & ~self.samples[0]
        self.heads = Array(
            self.samples[k] | self.learns if device.adapt_orders and k == 0 else self.samples[k]
            for k in self.numbers)
        self.feeds_more = self._each(1, "feeds_more")
        self.generates = self._each(1, "generates")
        self.generates_more = self._each(1, "generates_more")
        for k in self.numbers:
            m.d.sync += [
                self.feeds_more[k].eq(self.n_feed[k][1:].any()),
                self.generates[k].eq(self.n_generate[k].any()),
                self.generates_more[k].eq(self.n_generate[k][1:].any()),
            ]

    def _each(self, width: int, name: str, init: int = 0, reset_less: bool = False) -> Array:
        return numbered(Signal(width, name=f"{name}_{k}", init=init, reset_less=reset_less)
                        for k in self.numbers)
