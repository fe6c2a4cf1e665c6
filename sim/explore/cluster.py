"""Running a sweep's tasks: in processes of this computer, or on the workers of a Dask scheduler."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from trilight.sw.errors import ExploreError
from trilight.sw.workers import open_executor

from .sweep import SweepDesign
from .tasks import Store, Task

__all__ = ["run_tasks"]

Done = Callable[[Task, dict[str, Any]], None]
"""Called with each task that is done, and its result."""

def _run(task: Task) -> dict[str, Any]:
    return task.run()


def run_tasks(tasks: Mapping[SweepDesign, Sequence[Task]], store: Store, done: Done, *,
              address: str | None = None, workers: int | None = None) -> None:
    """Run what has no result yet, keeping each result at once.

    Parameters
    ----------
    tasks
        By design, its synthesis first; the others wait for it.
    address
        Of a Dask scheduler, ``tls://HOST:PORT``. Its workers need this release of Trilight.
    workers
        Processes on this computer; by default one for each processor.

    Raises
    ------
    ClusterError
        No scheduler answers, or its address has no certificates.
    ExploreError
        A process was ended.
    """
    missing = {task for group in tasks.values() for task in group if store.get(task) is None}
    if not missing:
        return
    with open_executor(address, workers) as executor:
        waiting: dict[Future[dict[str, Any]], Task] = {}
        after: dict[Task, list[Task]] = {}
        for synthesis, *others in tasks.values():
            wanted = [task for task in others if task in missing]
            if wanted or synthesis in missing:
                after[synthesis] = wanted
                waiting[executor.submit(_run, synthesis)] = synthesis
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                task = waiting.pop(future)
                try:
                    result = future.result()
                except BrokenProcessPool as error:
                    raise ExploreError(f"a process was ended during {task.name}, perhaps for "
                                       "memory; the same command goes on, with fewer --workers if "
                                       "need be") from error
                for following in after.pop(task, ()):
                    waiting[executor.submit(_run, following)] = following
                if task in missing:
                    store.put(task, result)
                    done(task, result)
