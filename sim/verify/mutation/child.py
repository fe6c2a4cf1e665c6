"""A process of its own for each mutant: one that hangs or crashes ends nothing else."""

import json
import os
import resource
import signal
from collections.abc import Callable
from typing import Any

from trilight.sw.errors import SimulationError

__all__ = ["in_child"]

WALL_SECONDS = 3600
"""Time limit of a process that waits for something; after it the campaign ends with an error."""

CRASHES = frozenset({signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV, signal.SIGXCPU})
"""Exits of a simulator that does not settle, or that takes too much of the processor's time."""


def in_child(work: Callable[[], Any], cpu_seconds: int) -> Any | None:
    """Return what ``work`` returns in a fork of this process; ``None`` if that crashed.

    ``work`` returns something for JSON; what it prints is dropped. It may take ``cpu_seconds`` of
    the processor, and so may each process that it starts.

    Raises
    ------
    SimulationError
        It ended in a way that is not the mutant's doing: too little memory, somebody's kill, an
        exception.
    """
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:  # nothing of the parent's may run here
        status = 1
        try:
            os.close(reads)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            signal.alarm(WALL_SECONDS)
            resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
            os.write(writes, json.dumps(work()).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writes)
    try:
        with os.fdopen(reads) as stream:
            text = stream.read()
        _, status = os.waitpid(child, 0)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    if text:
        return json.loads(text)
    if not os.WIFSIGNALED(status) or os.WTERMSIG(status) not in CRASHES:
        raise SimulationError(f"the process of a mutant ended with status {status}; free some "
                              "memory or wait until the computer is less busy, and go on with "
                              "the same command")
    return None
