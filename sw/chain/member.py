"""A board of a chain as its host sees it: a process and a connection."""

import contextlib
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from trilight.hw.contract.chain import CHAIN_STATUS, STATUS_OF, ChainCommand, Role
from trilight.sw.errors import ChainError
from trilight.sw.host.frames import Frame

from .board import join
from .link import ChainLink

__all__ = ["Member"]

START_S = 120.0
"""For a board to load its model and compile what it runs."""


class Member:
    """A board's process, and the host's connection to it."""

    def __init__(self, path: Path, layers: range, head: bool, sha256: str,
                 target: str) -> None:
        self.layers, self.head = layers, head
        self._target = target
        self._path, self._sha256 = path, sha256
        self._process: subprocess.Popen[str] | None = None
        self.link: ChainLink | None = None
        self.port = 0
        self.starts = 0
        self.sent = self.received = 0

    @property
    def what(self) -> str:
        first, last = self.layers.start, self.layers.stop - 1
        text = f"layer {first}" if first == last else f"layers {first}-{last}"
        return text + (" and head" if self.head else "")

    @property
    def pid(self) -> int:
        assert self._process is not None, "the board is not started"
        return self._process.pid

    def spawn(self, key: bytes) -> None:
        """Start the process; ``connect`` waits for it."""
        self.starts += 1
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trilight.sw.chain.board", str(self._path),
             str(self.layers.start), str(self.layers.stop), "--target", self._target],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(key.hex() + "\n")
            self._process.stdin.flush()

    def connect(self, key: bytes, timeout_s: float) -> None:
        """Wait for the process to listen, and join it.

        Raises
        ------
        ChainError
            It ends before, or takes too long, or has another model.
        """
        process = self._process
        assert process is not None
        assert process.stdout is not None
        late = threading.Timer(START_S, process.kill)
        late.start()
        try:
            line = process.stdout.readline()
        finally:
            late.cancel()
        if not line.strip().isdecimal():
            raise ChainError(f"it did not start: {self._last_words()}")
        self.port = int(line)
        self.link = join(self.port, key, Role.HOST, timeout_s)
        sha256, first, last, head, *_ = self.status(0, timeout_s)
        if (sha256.hex(), range(first, last), bool(head)) != (
                self._sha256, self.layers, self.head):
            raise ChainError("it has another model or other layers; its file has changed")

    def _last_words(self) -> str:
        process = self._process
        assert process is not None
        process.kill()
        _, errors = process.communicate()
        lines = [line for line in errors.splitlines() if line.strip()]
        return lines[-1] if lines else f"it ended with status {process.returncode}"

    def ask(self, command: ChainCommand, payload: bytes, timeout_s: float) -> bytes:
        """Send a command and return the payload of its response; vectors on the way are dropped.

        Raises
        ------
        ChainError
            It does not answer in time, or is gone.
        """
        if self.link is None:
            raise ChainError("it is not connected")
        self.link.send(Frame(0, command, payload))
        until = time.monotonic() + timeout_s
        while (left := until - time.monotonic()) > 0:
            for frame in self.link.receive(left):
                if frame.command == command:
                    return frame.payload
        raise ChainError(f"it did not answer for {timeout_s:g} s")

    def status(self, sequence: int, timeout_s: float) -> tuple[Any, ...]:
        """Fields of ``CHAIN_STATUS``."""
        return CHAIN_STATUS.unpack(
            self.ask(ChainCommand.STATUS, STATUS_OF.pack(sequence), timeout_s))

    def ended(self) -> str | None:
        """Return how the process ended, if it did."""
        assert self._process is not None
        try:
            # A connection closes a moment before its process can be waited for.
            status = self._process.wait(0.2)
        except subprocess.TimeoutExpired:
            return None
        return f"ended (signal {-status})" if status < 0 else f"ended with status {status}"

    def stop(self) -> None:
        """End the process."""
        if self.link is not None:
            self.sent += self.link.sent
            self.received += self.link.received
            self.link.close()
            self.link = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
                assert pipe is not None
                with contextlib.suppress(OSError):
                    pipe.close()
            self._process = None
