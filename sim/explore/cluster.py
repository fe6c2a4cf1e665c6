"""Running a sweep's tasks on a Dask cluster: this computer's processors, or others."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import psutil
from distributed import Client, Future, LocalCluster, as_completed

from trilight.sw.errors import ExploreError

from .sweep import Design
from .tasks import Store, Task

__all__ = ["run_tasks"]

Done = Callable[[Task, dict[str, Any]], None]
"""Called with each task that is done, and its result."""

CONNECT_S = 20


def _run(task: Task, _synthesis: Any = None) -> dict[str, Any]:
    return task.run()


@contextlib.contextmanager
def _client(address: str | None, workers: int | None) -> Iterator[Client]:
    """A client of the scheduler at ``address``, or of one made for the purpose."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    if address is not None:
        try:
            client = Client(address, timeout=CONNECT_S)
        except (OSError, ValueError) as error:
            raise ExploreError(f"no scheduler answers at {address}: {error}; start one with "
                               '"dask scheduler", and workers with "dask worker"') from error
        with client:
            yield client
        return
    # Processes, as elaboration is Python; their tools may use as much memory as they want.
    cluster = LocalCluster(n_workers=workers or psutil.cpu_count(), threads_per_worker=1,
                           memory_limit=0, dashboard_address="127.0.0.1:0",
                           silence_logs=logging.CRITICAL)
    try:
        with Client(cluster) as client:
            yield client
    finally:
        # A worker that is closed leaves its tools running, to no purpose.
        for worker in psutil.Process().children():
            for tool in worker.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    tool.kill()
        cluster.close()


def run_tasks(tasks: Mapping[Design, Sequence[Task]], store: Store, done: Done, *,
              address: str | None = None, workers: int | None = None) -> None:
    """Run what has no result yet, keeping each result at once.

    Parameters
    ----------
    tasks : mapping
        By design, its synthesis first; the others wait for it.
    store : Store
    done : callable
    address : str, optional
        Of a Dask scheduler. Its workers need this release of Trilight.
    workers : int, optional
        Processes on this computer; by default one for each processor.

    Raises
    ------
    ExploreError
        No scheduler answers.
    """
    missing = {task for group in tasks.values() for task in group if store.get(task) is None}
    if not missing:
        return
    with _client(address, workers) as client:
        submitted: dict[Future[Any], Task] = {}
        for synthesis, *others in tasks.values():
            wanted = [task for task in others if task in missing]
            first = None
            if wanted or synthesis in missing:
                first = client.submit(_run, synthesis, key=synthesis.key, pure=True)
                if synthesis in missing:
                    submitted[first] = synthesis
            for task in wanted:
                submitted[client.submit(_run, task, first, key=task.key, pure=True)] = task
        for future in as_completed(submitted):
            task = submitted[future]
            result = future.result()
            store.put(task, result)
            done(task, result)
