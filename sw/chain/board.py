"""One board of a chain, as a process: ``python -m trilight.sw.chain.board MODEL FIRST LAST``.

It listens on a port of this computer, which it writes to standard output, and obeys whoever knows
the key that it read from standard input. It ends when the host's connection does.
"""

import argparse
import selectors
import socket
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trilight.hw.contract.chain import (
    CHAIN_KINDS,
    CHAIN_STATUS,
    JOIN,
    NEXT,
    REFUSED,
    STATUS_OF,
    ChainCommand,
    Refusal,
    Role,
)
from trilight.hw.contract.imported import FORMATS
from trilight.sw.checkpoint.model import ImportedModel
from trilight.sw.errors import ChainError, TrilightError
from trilight.sw.host.frames import Frame

from .link import Assembler, ChainLink, Vector
from .part import Part, has_head, open_part

__all__ = ["KEY_BYTES", "ChainBoard", "main"]

KEY_BYTES = 16
HOST_S = 120.0
"""Seconds that a board waits for its host."""
SEND_S = 10.0


class ChainBoard:
    """The layers of one board, and a state of each sequence for them.

    Parameters
    ----------
    model : ImportedModel
    layers : range
        Its layers; the board with the last one has the head too.
    target : str
        What runs them.
    """

    def __init__(self, model: ImportedModel, layers: range, target: str = "reference") -> None:
        self.model = model
        self.layers = layers
        self.head = has_head(model, layers)
        self.tokens = 0
        self._target = target
        self._run = 0
        self._parts: dict[int, Part] = {}
        self._positions: dict[int, int] = {}

    def take(self, vector: Vector) -> Vector | Frame | None:
        """Compute a vector's successor.

        Returns
        -------
        Vector or Frame or None
            What goes on: residual stream or logits. A refusal, for the host. Nothing of a vector
            of an earlier run.
        """
        if vector.run < self._run:
            return None
        if vector.run > self._run:
            self._run = vector.run
            self._positions.clear()
        expected = self._positions.get(vector.sequence, 0)
        if vector.position == 0:
            self._part(vector.sequence).reset()
        elif vector.position != expected:
            return refusal(vector, Refusal.POSITION, expected)
        maximum = 1 << FORMATS.residual_bits - 1
        if vector.values.min() < -maximum or vector.values.max() >= maximum:
            return refusal(vector, Refusal.INCOMPLETE, expected)
        result = self._part(vector.sequence).advance(vector.values, vector.wanted)
        command = ChainCommand.LOGITS if self.head else ChainCommand.RESIDUAL
        self._positions[vector.sequence] = vector.position + 1
        self.tokens += 1
        return Vector(command, vector.run, vector.sequence, vector.position, vector.wanted, result)

    def status(self, sequence: int) -> bytes:
        """Payload of a response to STATUS."""
        counts = self._parts[sequence].saturated if sequence in self._positions else {}
        return CHAIN_STATUS.pack(bytes.fromhex(self.model.sha256), self.layers.start,
                                 self.layers.stop, self.head, self.tokens,
                                 *(counts.get(kind, 0) for kind in CHAIN_KINDS))

    def _part(self, sequence: int) -> Part:
        if sequence not in self._parts:
            self._parts[sequence] = open_part(self._target, self.model, self.layers)
        return self._parts[sequence]

    def warm_up(self) -> None:
        """Compute once, since what is compiled late would hold up the first token."""
        self._part(0).advance(np.zeros(self.model.shape.hidden, np.int64), True)


def refusal(vector: Vector, why: Refusal, expected: int) -> Frame:
    return Frame(0, ChainCommand.REFUSED, REFUSED.pack(
        vector.run, vector.sequence, why, vector.position, expected))


class _Service:
    """Connections of a board, served one frame after the other."""

    def __init__(self, board: ChainBoard, key: bytes, listener: socket.socket) -> None:
        self._board = board
        self._key = key
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._links: dict[ChainLink, Role | None] = {}
        self._assemblers: dict[ChainLink, Assembler] = {}
        self._host: ChainLink | None = None
        self._host_gone = False
        self._next: ChainLink | None = None

    def serve(self) -> None:
        """Serve until the host goes, or does not come."""
        while True:
            ready = self._selector.select(HOST_S if self._host is None else None)
            if not ready and self._host is None:
                return
            for key, _ in ready:
                if key.fileobj is self._listener:
                    self._accept()
                elif key.data in self._links and not self._served(key.data):
                    return

    def _accept(self) -> None:
        link = ChainLink(self._listener.accept()[0], SEND_S)
        self._links[link] = None
        self._selector.register(link.socket, selectors.EVENT_READ, link)

    def _served(self, link: ChainLink) -> bool:
        """Serve what has arrived; false when the host is gone."""
        try:
            for frame in link.receive(0.05):
                self._obey(link, frame)
        except (ChainError, ValueError, struct.error):
            self._drop(link)
            self._host_gone |= link is self._host
        return not self._host_gone

    def _drop(self, link: ChainLink) -> None:
        if link in self._links:
            del self._links[link]
            self._selector.unregister(link.socket)
        link.close()

    def _obey(self, link: ChainLink, frame: Frame) -> None:
        if self._links[link] is None:
            self._join(link, frame)
        elif frame.command == ChainCommand.RESIDUAL:
            self._pass_on(link, frame.payload)
        elif link is self._host and frame.command == ChainCommand.STATUS:
            sequence, = STATUS_OF.unpack(frame.payload)
            link.send(Frame(frame.sequence, frame.command, self._board.status(sequence)))
        elif link is self._host and frame.command == ChainCommand.NEXT:
            self._connect(*NEXT.unpack(frame.payload))
            link.send(Frame(frame.sequence, frame.command))
        else:
            raise ValueError(f"command {frame.command:#x} is unknown")

    def _join(self, link: ChainLink, frame: Frame) -> None:
        if frame.command != ChainCommand.JOIN or len(frame.payload) != JOIN.size:
            raise ValueError("a connection that does not begin with JOIN")
        role, key = JOIN.unpack(frame.payload)
        if key != self._key:
            raise ValueError("a connection of another chain")
        self._links[link] = Role(role)
        self._assemblers[link] = Assembler(ChainCommand.RESIDUAL, self._board.model.shape.hidden)
        if role == Role.HOST:
            self._host = link

    def _connect(self, port: int) -> None:
        if self._next is not None:
            self._next.close()
        self._next = join(port, self._key, Role.NEIGHBOUR)

    def _pass_on(self, link: ChainLink, payload: bytes) -> None:
        try:
            vector = self._assemblers[link].add(payload)
        except ValueError:
            # A frame was lost on the way: the host hears of it, and begins a new run.
            self._tell(Frame(0, ChainCommand.REFUSED, REFUSED.pack(0, 0, Refusal.INCOMPLETE, 0, 0)))
            return
        result = None if vector is None else self._board.take(vector)
        if isinstance(result, Frame):
            self._tell(result)
        elif result is not None and self._board.head:
            self._tell(*result.frames())
        elif result is not None:
            try:
                if self._next is None:
                    raise ChainError("there is no next board")
                self._next.send(*result.frames())
            except ChainError:
                self._tell(refusal(result, Refusal.NEXT, result.position))

    def _tell(self, *frames: Frame) -> None:
        try:
            if self._host is not None:
                self._host.send(*frames)
        except ChainError:
            self._host_gone = True


def join(port: int, key: bytes, role: Role, send_timeout_s: float = SEND_S) -> ChainLink:
    """Connect to a board of this computer.

    Raises
    ------
    ChainError
        Nobody listens there.
    """
    try:
        link = ChainLink(socket.create_connection(("127.0.0.1", port), send_timeout_s),
                         send_timeout_s)
    except OSError as error:
        raise ChainError(f"nothing listens on port {port} ({error})") from error
    link.send(Frame(0, ChainCommand.JOIN, JOIN.pack(role, key)))
    return link


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a board until its host goes."""
    parser = argparse.ArgumentParser(prog="python -m trilight.sw.chain.board", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("first", type=int, help="its first layer")
    parser.add_argument("last", type=int, help="the layer after its last one")
    parser.add_argument("--target", default="reference", help="what runs them")
    given = parser.parse_args(arguments)
    key = bytes.fromhex(sys.stdin.readline())
    try:
        board = ChainBoard(ImportedModel.load(given.model), range(given.first, given.last),
                      given.target)
        board.warm_up()
    except TrilightError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        _Service(board, key, listener).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
