"""Executors of work that can be divided: processes of this computer, or a Dask scheduler's workers.

Processes of this computer are fed through pipes of their own, so that nobody else can hand them
work. A scheduler runs whatever reaches it, and what it returns is unpickled here: it is spoken to
by TLS only, with certificates that both sides check.
"""

import contextlib
import logging
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor

from trilight.hw.support.extras import pip_install

from .errors import ClusterError

__all__ = ["open_executor"]

CONNECT_S = 20

TRUSTED = ("tls://", "inproc://")
"""Schedulers that others cannot pretend to be: with certificates, or in this very process."""


@contextlib.contextmanager
def open_executor(address: str | None = None, workers: int | None = None) -> Iterator[Executor]:
    """Open what runs work, and end it when it is left.

    Parameters
    ----------
    address
        Of a Dask scheduler, ``tls://HOST:PORT``. Its workers need this release of Trilight.
    workers
        Processes on this computer; by default one for each processor.

    Raises
    ------
    ClusterError
        No scheduler answers, or its address has no certificates.
    """
    with _processes(workers) if address is None else _scheduler(address) as executor:
        yield executor


@contextlib.contextmanager
def _processes(workers: int | None) -> Iterator[Executor]:
    # Started afresh: a fork copies locks that threads hold, a fork server listens on a socket.
    pool = ProcessPoolExecutor(workers or os.cpu_count() or 1,
                               mp_context=multiprocessing.get_context("spawn"))
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in multiprocessing.active_children():
            _end_tools(worker.pid)
            worker.kill()
            worker.join()
        raise
    pool.shutdown()


def _end_tools(pid: int | None) -> None:
    """End what a worker has started: tools that would run on, to no purpose."""
    try:
        import psutil
    except ImportError:
        # Only sweeps start tools, and their extra has it.
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        for tool in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                tool.kill()


@contextlib.contextmanager
def _scheduler(address: str) -> Iterator[Executor]:
    """The workers of a Dask scheduler."""
    if not address.startswith(TRUSTED):
        raise ClusterError(
            f"a scheduler at {address} runs whatever anybody sends it, and could send anything "
            "back; start it with certificates and give tls://HOST:PORT, which Dask's own "
            "distributed.comm.tls settings describe")
    try:
        from distributed import Client
        from distributed.security import Security
    except ImportError as error:
        raise ClusterError("a Dask scheduler needs the package distributed; "
                           + pip_install("trilight[cluster]")) from error
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    security = Security(require_encryption=True) if address.startswith("tls") else None
    try:
        client = Client(address, timeout=CONNECT_S, security=security)
    except (OSError, ValueError, TypeError) as error:
        raise ClusterError(f"no scheduler answers at {address}: {error}; start one with "
                           '"dask scheduler", and workers with "dask worker", all with the same '
                           "certificates") from error
    with client:
        yield client.get_executor()
