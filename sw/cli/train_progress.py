"""Run of a training under a progress bar, which Ctrl-C stops at a checkpoint."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from trilight.hw.support.terminal import Console

if TYPE_CHECKING:
    from trilight.sw.train.trainer import Progress, Trainer

__all__ = ["LOG_EVERY_S", "train"]

LOG_EVERY_S = 30.0
"""Time between two lines where there is no terminal for a bar."""

_SHOWN_EVERY_S = 0.2
"""Time between two changes of the bar, since reading the loss waits for a GPU."""


@contextmanager
def _stop_on_signal() -> Iterator[list[int]]:
    """Collect the first Ctrl-C or termination; a second Ctrl-C interrupts as usual."""
    caught: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    def catch(number: int, _frame: object) -> None:
        caught.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    for number in signals:
        signal.signal(number, catch)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train(console: Console, trainer: "Trainer", checkpoint: Path) -> bool:
    """Run the schedule under a progress bar; tell if it was completed.

    Where there is no terminal, a line now and then takes the bar's place.
    """
    token = trainer.corpus.unit
    columns = (TextColumn("training"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
               TextColumn("loss {task.fields[loss]:.4f} nats/" + token),
               TextColumn("{task.fields[speed]:,.0f} " + token + "/s"), TimeElapsedColumn(),
               TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=True))
    with (_stop_on_signal() as caught,
          Bar(*columns, console=console, disable=not console.is_terminal) as bar):
        task = bar.add_task("", total=trainer.options.steps, completed=trainer.step,
                            loss=trainer.loss, speed=0.0)
        logged = shown = monotonic()

        def report(now: "Progress") -> None:
            nonlocal logged, shown
            last = now.step == now.steps
            if last or monotonic() - shown >= _SHOWN_EVERY_S:
                shown = monotonic()
                bar.update(task, completed=now.step, loss=now.loss, speed=now.characters_per_s)
            if not console.is_terminal and (last or monotonic() - logged >= LOG_EVERY_S):
                logged = monotonic()
                console.print(f"step {now.step:,} of {now.steps:,}, loss {now.loss:.4f} "
                              f"nats/{token}, {now.characters_per_s:,.0f} {token}/s",
                              highlight=False)

        return trainer.run(report=report, stop=lambda: bool(caught), checkpoint=checkpoint)
