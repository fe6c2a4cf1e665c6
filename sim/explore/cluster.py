"""Running a sweep's tasks: in processes of this computer, or on the workers of a Dask scheduler.

Processes of this computer are fed through pipes of their own, so that nobody else can hand them
work. A scheduler runs whatever reaches it, and what it returns is unpickled here: it is spoken to
by TLS only, with certificates that both sides check.
"""

import contextlib
import logging
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import psutil

from trilight.hw.support.extras import pip_install
from trilight.sw.errors import ExploreError

from .sweep import SweepDesign
from .tasks import Store, Task

__all__ = ["run_tasks"]

Done = Callable[[Task, dict[str, Any]], None]
"""Called with each task that is done, and its result."""

CONNECT_S = 20

TRUSTED = ("tls://", "inproc://")
"""Schedulers that others cannot pretend to be: with certificates, or in this very process."""


def _run(task: Task) -> dict[str, Any]:
    return task.run()


@contextlib.contextmanager
def _processes(workers: int | None) -> Iterator[Executor]:
    """Processes of this computer, as elaboration is Python."""
    # Started afresh: a fork copies locks that threads hold, a fork server listens on a socket.
    pool = ProcessPoolExecutor(workers or psutil.cpu_count() or 1,
                               mp_context=multiprocessing.get_context("spawn"))
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        # A worker that is ended leaves its tools running, to no purpose.
        for worker in multiprocessing.active_children():
            with contextlib.suppress(psutil.NoSuchProcess):
                for tool in psutil.Process(worker.pid).children(recursive=True):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        tool.kill()
            worker.kill()
            worker.join()
        raise
    pool.shutdown()


@contextlib.contextmanager
def _scheduler(address: str) -> Iterator[Executor]:
    """The workers of a Dask scheduler."""
    if not address.startswith(TRUSTED):
        raise ExploreError(
            f"a scheduler at {address} runs whatever anybody sends it, and could send anything "
            "back; start it with certificates and give tls://HOST:PORT, which Dask's own "
            "distributed.comm.tls settings describe")
    try:
        from distributed import Client
        from distributed.security import Security
    except ImportError as error:
        raise ExploreError("a Dask scheduler needs the package distributed; "
                           + pip_install("trilight[cluster]")) from error
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    security = Security(require_encryption=True) if address.startswith("tls") else None
    try:
        client = Client(address, timeout=CONNECT_S, security=security)
    except (OSError, ValueError, TypeError) as error:
        raise ExploreError(f"no scheduler answers at {address}: {error}; start one with "
                           '"dask scheduler", and workers with "dask worker", all with the same '
                           "certificates") from error
    with client:
        yield client.get_executor()


def run_tasks(tasks: Mapping[SweepDesign, Sequence[Task]], store: Store, done: Done, *,
              address: str | None = None, workers: int | None = None) -> None:
    """Run what has no result yet, keeping each result at once.

    Parameters
    ----------
    tasks : mapping
        By design, its synthesis first; the others wait for it.
    store : Store
    done : callable
    address : str, optional
        Of a Dask scheduler, ``tls://HOST:PORT``. Its workers need this release of Trilight.
    workers : int, optional
        Processes on this computer; by default one for each processor.

    Raises
    ------
    ExploreError
        No scheduler answers, its address has no certificates, or a process was ended.
    """
    missing = {task for group in tasks.values() for task in group if store.get(task) is None}
    if not missing:
        return
    with _processes(workers) if address is None else _scheduler(address) as executor:
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
