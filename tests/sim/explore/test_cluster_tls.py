"""A scheduler with certificates, and strangers who have none or their own."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Client, LocalCluster
from distributed.security import Security

from trilight.sim.explore.cluster import run_tasks
from trilight.sim.explore.sweep import SweepDesign
from trilight.sim.explore.tasks import Store, Task
from trilight.sw import workers
from trilight.sw.errors import ClusterError

DESIGN = SweepDesign(board="icebreaker", clock_hz=24e6)
TASKS = {DESIGN: [Task(kind="synthesis", design=DESIGN)]}


def settings(security: Security) -> dict[str, Any]:
    """What a user writes into Dask's configuration, with the certificates themselves."""
    return {"distributed.comm.tls.ca-file": security.tls_ca_file,
            "distributed.comm.tls.client.cert": security.tls_client_cert,
            "distributed.comm.tls.client.key": security.tls_client_key}


@pytest.fixture(scope="module")
def security() -> Security:
    """A temporary certificate."""
    return Security.temporary()


@pytest.fixture(scope="module")
def address(security: Security) -> Iterator[str]:
    """A scheduler behind real TLS on loopback; its worker is a thread of this process."""
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, memory_limit=0,
                      protocol="tls://", host="127.0.0.1", security=security,
                      dashboard_address="127.0.0.1:0") as made:
        assert made.scheduler_address.startswith("tls://127.0.0.1:")
        yield made.scheduler_address


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    done: list[Task] = []

    def run(task: Task) -> dict[str, Any]:
        done.append(task)
        return {"cells": {}}

    monkeypatch.setattr(Task, "run", run)
    monkeypatch.setattr(workers, "CONNECT_S", 2)
    return done


def test_certificate_lets_in(address: str, security: Security, ran: list[Task],
                             tmp_path: Path) -> None:
    store = Store(tmp_path)
    with dask.config.set(settings(security)):
        run_tasks(TASKS, store, lambda task, result: None, address=address)
    assert ran == TASKS[DESIGN]
    assert store.get(ran[0]) == {"cells": {}}


@pytest.mark.parametrize("own", [False, True], ids=["without a certificate", "with its own"])
def test_stranger_is_refused(own: bool, address: str, ran: list[Task], tmp_path: Path) -> None:
    """By the scheduler, before anything that the stranger sends is read."""
    with dask.config.set(settings(Security.temporary()) if own else {}), pytest.raises(
            ClusterError, match="no scheduler answers at tls://"):
        run_tasks(TASKS, Store(tmp_path), lambda task, result: None, address=address)
    assert ran == []


def test_scheduler_of_a_stranger_is_refused(security: Security, ran: list[Task],
                                            tmp_path: Path) -> None:
    """What it would send back would be unpickled here."""
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, memory_limit=0,
                      protocol="tls://", host="127.0.0.1", security=Security.temporary(),
                      dashboard_address="127.0.0.1:0") as stranger:
        with dask.config.set(settings(security)), pytest.raises(
                ClusterError, match="no scheduler answers at tls://"):
            run_tasks(TASKS, Store(tmp_path), lambda task, result: None,
                      address=stranger.scheduler_address)
    assert ran == []


def plant(address: str, security: Security | None, path: Path) -> None:
    """Have the scheduler run code: a client's function is pickled, and runs on the worker."""
    with Client(address, timeout=2, security=security) as client:
        client.submit(os.mkdir, str(path)).result()


def test_code_of_a_stranger_does_not_run(address: str, security: Security, tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    plant(address, security, planted)
    assert planted.exists()
    planted.rmdir()
    for stranger, where in ((Security.temporary(), address),
                            (Security(require_encryption=True), address),
                            (None, address.replace("tls://", "tcp://"))):
        with pytest.raises((OSError, TypeError), match=r"(?i)connect|certificate|TLS"):
            plant(where, stranger, planted)
        assert not planted.exists()
