"""Candidates: every shape that a board holds, with what it costs there.

Cycles are those of the performance model, exact for weights on the chip; the power is that of a
board's released build, whose activity was counted, and is not known of others.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from trilight.hw.contract.device import Device
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.support.boards import board_device, load_board
from trilight.sw.power import Activity, Interval, estimate_power
from trilight.sw.report.performance import predict
from trilight.sw.report.releases import load_releases

from .target import Target

__all__ = ["Candidate", "Style", "candidates", "shape_of", "sizes"]

_WIDTH_STEP = 8
_HIDDEN_STEP = 4
_WIDEST = 512


@dataclass(frozen=True, order=True)
class Style:
    """Proportions that shapes of one family share, whatever their size."""

    layers: int
    ratio: float
    """Hidden units by channels."""

    def config(self, vocab_size: int, width: int) -> ModelConfig:
        """Return the shape of a width."""
        hidden = max(_HIDDEN_STEP, round(width * self.ratio / _HIDDEN_STEP) * _HIDDEN_STEP)
        return ModelConfig(vocab_size=vocab_size, d_model=width, n_layers=self.layers,
                           d_hidden=hidden)


def sizes(vocab_size: int, style: Style, largest: int) -> list[ModelConfig]:
    """Return the shapes of a style with at most ``largest`` weights, by size."""
    every = (style.config(vocab_size, width)
             for width in range(2 * _WIDTH_STEP, _WIDEST + 1, _WIDTH_STEP))
    return [config for config in every if config.ternary_weights <= largest]


def shape_of(vocab_size: int, style: Style, weights: float) -> ModelConfig:
    """Return the shape of a style whose size is nearest."""
    return min((style.config(vocab_size, width)
                for width in range(2 * _WIDTH_STEP, _WIDEST + 1, _WIDTH_STEP)),
               key=lambda config: abs(config.ternary_weights - weights))


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A shape on a board."""

    config: ModelConfig
    board: str
    memory_bytes: int
    """Size of the board's weight memory."""
    bytes: int
    """Bytes of the model's weight words there, padding included."""
    clock_hz: float
    cycles_per_token: float
    prompt_cycles_per_token: float
    power_mw: Interval | None
    """Power of the FPGA core while it works; ``None`` if no activity was counted for the board."""
    line_tokens: float | None
    """Characters of a mean line, of a task of lines."""
    line_head: bool
    """True if each character of a line needs logits, false if only its last does."""

    @property
    def tokens_per_s(self) -> float:
        return self.clock_hz / self.cycles_per_token

    @property
    def uj_per_token(self) -> Interval | None:
        """Microjoules of a generated token."""
        return self.power_mw and self.power_mw.scaled(1e3 / self.tokens_per_s)

    @property
    def ms_per_line(self) -> float | None:
        """Milliseconds of a mean line, of a task of lines."""
        if self.line_tokens is None:
            return None
        before = (self.cycles_per_token if self.line_head else self.prompt_cycles_per_token)
        cycles = (self.line_tokens - 1) * before + self.cycles_per_token
        return 1e3 * cycles / self.clock_hz

    @property
    def uj_per_line(self) -> Interval | None:
        """Microjoules of a mean line."""
        if self.ms_per_line is None or self.power_mw is None:
            return None
        return self.power_mw.scaled(self.ms_per_line)

    def cost(self, name: str) -> float | None:
        """Return a cost by its name in ``COSTS``; ``None`` if it is not known."""
        token, line = self.uj_per_token, self.uj_per_line
        costs: Mapping[str, float | None] = {
            "bytes": self.bytes, "tokens/s": self.tokens_per_s,
            "cycles/token": self.cycles_per_token, "ms/line": self.ms_per_line,
            "uJ/token": None if token is None else token.p50,
            "uJ/line": None if line is None else line.p50}
        return costs[name]

    def keeps(self, limits: Iterable[Target]) -> bool:
        """Tell if all costs are within their limits."""
        return all(limit.met(self.cost(limit.name)) for limit in limits)

    def to_dict(self) -> dict[str, Any]:
        """All figures, ready for JSON."""
        energy = self.uj_per_line or self.uj_per_token
        return {"board": self.board, "shape": self.config.to_dict(),
                "ternary_weights": self.config.ternary_weights, "bytes": self.bytes,
                "clock_hz": self.clock_hz, "cycles_per_token": self.cycles_per_token,
                "tokens_per_s": self.tokens_per_s, "ms_per_line": self.ms_per_line,
                "uj_per_token": self.cost("uJ/token"), "uj_per_line": self.cost("uJ/line"),
                "uj_interval": energy and [energy.p05, energy.p95]}


@cache
def _power(board: str) -> Interval | None:
    release = load_releases().get(board)
    if release is None:
        return None
    return estimate_power(Activity.from_dict(release["activity"]["busy"]), release["clock_hz"],
                          pll=release["pll"]).power_mw


@cache
def _cycles(config: ModelConfig, device: Device) -> tuple[float, float]:
    found = predict(config, device=device)
    return found.cycles_per_token, found.prompt_cycles_per_token


def candidates(configs: Sequence[ModelConfig], boards: Sequence[str], *,
               line_tokens: float | None, line_head: bool) -> Iterator[Candidate]:
    """Yield each shape on each board that holds it.

    Raises
    ------
    BoardError
        There is no such board, or its package cannot be imported.
    """
    for board in boards:
        device = board_device(board)
        unit = 2 * device.packing.word_units
        clock = float(load_board(board).default_hz)
        for config in configs:
            if config.violations(device):
                continue
            cycles, prompt = _cycles(config, device)
            yield Candidate(
                config=config, board=board, memory_bytes=device.weight_words * unit,
                bytes=config.weight_words(device.packing) * unit, clock_hz=clock,
                cycles_per_token=cycles, prompt_cycles_per_token=prompt, power_mw=_power(board),
                line_tokens=line_tokens, line_head=line_head)
