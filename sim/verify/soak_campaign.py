"""A soak's campaign: models of one seed on one design, one after the other or together."""

import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from trilight.hw.contract.device import Device
from trilight.hw.flow.build import Hdl
from trilight.sim.bench.traces import TRACES
from trilight.sim.native.bench import Bench
from trilight.sim.sliced.chips import Chips
from trilight.sw.journal import Journal

from .soak_session import TOKENS_PER_MODEL, SoakOutcome, run_model

__all__ = ["SoakCampaign", "soak", "soak_together"]


class SoakCampaign:
    """Outcomes of one seed on one design, kept in a journal so that the work can go on later.

    Parameters
    ----------
    path : pathlib.Path
        A journal of another design, target or seed is not added to.
    hdl : Hdl
    seed : int

    Raises
    ------
    SimulationError
        The file is of another campaign, or is none.
    """

    def __init__(self, path: Path, hdl: Hdl, seed: int) -> None:
        self.journal = Journal(path, {"target": hdl.kind, "seed": seed,
                                      "design_sha256": hdl.design_sha256})
        self.about = self.journal.about
        kept = [self.journal.results[number] for number in sorted(self.journal.results, key=int)]
        self.outcomes = [SoakOutcome(**each["outcome"]) for each in kept]
        self.seconds = sum(each["seconds"] for each in kept)
        self._given = {outcome.number for outcome in self.outcomes}

    def next_number(self) -> int:
        """Number of a model that has not been run, nor given before; the lowest one."""
        number = next(number for number in itertools.count() if number not in self._given)
        self._given.add(number)
        return number

    @property
    def tokens(self) -> int:
        """Compared so far."""
        return sum(outcome.tokens for outcome in self.outcomes)

    def to_dict(self) -> dict[str, Any]:
        """Totals over all models, ready for JSON."""
        return {
            **self.about, "seconds": round(self.seconds, 1), "tokens": self.tokens,
            "generated": sum(outcome.generated for outcome in self.outcomes),
            "runs": sum(outcome.runs for outcome in self.outcomes),
            "runs_of_two_sequences": sum(outcome.together for outcome in self.outcomes),
            "corner_case_models": sum(outcome.corner_case for outcome in self.outcomes),
            "cycles": sum(outcome.cycles for outcome in self.outcomes),
            "values": {name: sum(outcome.values.get(name, 0) for outcome in self.outcomes)
                       for name in TRACES},
            "differences": 0,
            "shapes": len({tuple(outcome.config.values()) for outcome in self.outcomes}),
            "sizes": {name: [min(sizes), max(sizes)] for name, sizes in self._sizes().items()},
            "models": len(self.outcomes),
        }

    def _sizes(self) -> dict[str, list[int]]:
        sizes: dict[str, list[int]] = defaultdict(list)
        for outcome in self.outcomes:
            for name, value in outcome.config.items():
                sizes[name].append(value)
        return sizes

    def add(self, outcome: SoakOutcome, seconds: float) -> None:
        """Take in an outcome, and write it down."""
        self.journal.keep(str(outcome.number), {"outcome": vars(outcome), "seconds": seconds})
        self.outcomes.append(outcome)
        self.seconds += seconds


def soak(make: Callable[[], Bench], device: Device, campaign: SoakCampaign, tokens: int,
         progress: Callable[[int], None]) -> None:
    """Run models, one after the other, until a campaign has so many tokens.

    Parameters
    ----------
    make : callable
        Returns a chip fresh from power-on.
    device : Device
        Its sizes.
    campaign : Campaign
    tokens : int
    progress : callable
        Called with the tokens so far.

    Raises
    ------
    SimulationError
        Something differs from the reference.
    """
    seed = int(campaign.about["seed"])
    while (have := campaign.tokens) < tokens:
        begin = time.monotonic()
        outcome = run_model(make, device, seed, campaign.next_number(), tokens - have)
        campaign.add(outcome, time.monotonic() - begin)
        progress(campaign.tokens)


def soak_together(chips: Chips, campaign: SoakCampaign, tokens: int, number: int,
                  progress: Callable[[int], None]) -> None:
    """Run models, ``number`` at a time, until a campaign has so many tokens.

    Parameters
    ----------
    chips : Chips
        Closed at the end, or at the first difference.
    campaign : Campaign
    tokens, number : int
    progress : callable
        As in ``soak``.

    Raises
    ------
    SimulationError
        Something differs from the reference.
    """
    seed, device = int(campaign.about["seed"]), chips.hdl.board.device_config
    share = max(TOKENS_PER_MODEL[0], -(-(tokens - campaign.tokens) // number))
    turn = threading.Lock()
    running = 0
    last = time.monotonic()

    def work(lane: int) -> None:
        nonlocal running, last
        while True:
            with turn:
                if campaign.tokens + share * running >= tokens:
                    return
                model = campaign.next_number()
                running += 1
            outcome = run_model(lambda: chips.lane(lane), device, seed, model, share)
            with turn:
                running -= 1
                # Of them all together, so that times add up.
                now = time.monotonic()
                campaign.add(outcome, now - last)
                last = now
                progress(campaign.tokens)

    with ThreadPoolExecutor(number) as pool:
        try:
            for done in as_completed([pool.submit(work, lane) for lane in range(number)]):
                done.result()
        finally:
            chips.close()
