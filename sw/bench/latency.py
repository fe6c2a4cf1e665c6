"""Latency of queries: first token, prompt and answer apart, percentiles."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from trilight.sw.host.generation import LastRun
from trilight.sw.report.figures import Figure

__all__ = ["Latency", "latency_figures", "latency_of_cycles"]


@dataclass(frozen=True)
class Latency:
    """Time that a query took."""

    prompt_tokens: int
    tokens: int
    """Number of tokens generated."""
    first_s: float
    """Seconds to the first token, the prompt included."""
    whole_s: float
    """Seconds to the last token."""


def latency_of_cycles(runs: Sequence[LastRun], clock_hz: float | None) -> list[Latency]:
    """Latencies of queries on a chip, by its counters; none if it does not count or has no clock.
    """
    return [Latency(
        prompt_tokens=len(run.prompt), tokens=run.tokens,
        first_s=(run.prompt_cycles + run.cycles / run.tokens) / clock_hz,
        whole_s=(run.prompt_cycles + run.cycles) / clock_hz)
        for run in runs if clock_hz and run.cycles and run.prompt_cycles is not None]


def latency_figures(latencies: Sequence[Latency], like: Figure) -> dict[str, Figure]:
    """Return the figures of latencies; ``like`` has their provenance, boundary and source.

    Seconds to the first token, of the median query; seconds of a whole query, percentiles over all
    of them; tokens per second of the prompt, which ends with the first token, and of what follows.
    """
    def figure(value: float, unit: str) -> Figure:
        return replace(like, value=value, unit=unit)

    whole = [each.whole_s for each in latencies]
    found = {
        "time_to_first_token_s": figure(median(each.first_s for each in latencies), "s"),
        **{f"query_latency_p{share}_s": figure(float(np.percentile(whole, share)), "s")
           for share in (50, 90, 95, 99)},
        "prefill_tokens_per_s": figure(
            median(each.prompt_tokens / each.first_s for each in latencies), "tokens/s"),
    }
    following = [(each.tokens - 1) / (each.whole_s - each.first_s) for each in latencies
                 if each.tokens > 1 and each.whole_s > each.first_s]
    if following:
        found["decode_tokens_per_s"] = figure(median(following), "tokens/s")
    return found
