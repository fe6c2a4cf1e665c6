"""Boards as processes: the tokens of one board, whatever happens to a neighbour."""

import itertools
import os
import signal
import sys
import time
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from trilight.hw.contract.chain import (
    CHAIN_KINDS,
    CHAIN_STATUS,
    REFUSED,
    VECTOR,
    ChainCommand,
    Refusal,
    Role,
    values_of_frame,
    vector_bytes,
)
from trilight.hw.contract.imported import FORMATS
from trilight.sw.chain.board import ChainBoard, join, main
from trilight.sw.chain.cut import cut_layers
from trilight.sw.chain.host import Chain, ChainRunner
from trilight.sw.chain.link import Assembler, Vector
from trilight.sw.checkpoint.importer import import_checkpoint
from trilight.sw.checkpoint.model import ImportedModel
from trilight.sw.checkpoint.reader import Checkpoint
from trilight.sw.checkpoint.run import open_runner
from trilight.sw.checkpoint.shape import SHAPES, Shape
from trilight.sw.errors import ChainError, TokenError
from trilight.sw.host.frames import Frame, encode_frame

from ..checkpoint.synthetic import Synthetic

# Each board is an interpreter that starts and compiles.
pytestmark = pytest.mark.timeout(300)

VOCABULARY = 300
SIGNALS = pytest.mark.skipif(sys.platform == "win32", reason="processes are stopped by signals")


@pytest.fixture
def path(rng: np.random.Generator, tmp_path: Path) -> Path:
    made = Synthetic.random(rng, hidden=60, layers=5, inner=100, vocabulary=VOCABULARY)
    import_checkpoint(Checkpoint(made.write(tmp_path / "checkpoint")), tmp_path / "model")
    return tmp_path / "model"


def wanted(path: Path, tokens: Sequence[int]) -> np.ndarray:
    return open_runner(ImportedModel.load(path)).feed(tokens)


def tokens_of(rng: np.random.Generator, count: int) -> list[int]:
    return rng.integers(0, VOCABULARY, count).tolist()


# Vectors in frames

@pytest.mark.parametrize("command", [ChainCommand.RESIDUAL, ChainCommand.LOGITS])
@pytest.mark.parametrize("count", [1, 45, 46, 47, 1000])
def test_vectors_go_through_frames(rng: np.random.Generator, command: ChainCommand,
                                   count: int) -> None:
    bits = FORMATS.residual_bits if command is ChainCommand.RESIDUAL else FORMATS.logit_bits
    maximum = 1 << bits - 1
    values = rng.integers(-maximum, maximum, count)
    values[0], values[-1] = -maximum, maximum - 1
    frames = list(Vector(command, 3, 200, 70_000, True, values).frames())
    assembler = Assembler(command, count)
    results = [assembler.add(frame.payload) for frame in frames]
    assert results[:-1] == [None] * (len(frames) - 1)
    found = results[-1]
    assert found is not None
    assert (found.run, found.sequence, found.position, found.wanted) == (3, 200, 70_000, True)
    assert np.array_equal(found.values, values)
    # Without escapes: what plans count.
    assert vector_bytes(command, count) == sum(
        len(frame.payload) + 8 for frame in frames)
    assert len(frames) == -(-count // values_of_frame(command))


def test_no_logits_are_a_frame_too() -> None:
    [frame] = Vector(ChainCommand.LOGITS, 1, 0, 5, False, np.zeros(0, np.int64)).frames()
    found = Assembler(ChainCommand.LOGITS, 300).add(frame.payload)
    assert found is not None
    assert (found.position, len(found.values)) == (5, 0)


def test_lost_frames_are_seen(rng: np.random.Generator) -> None:
    """Any one frame of two vectors that is lost, doubled or exchanged."""
    vectors = [Vector(ChainCommand.RESIDUAL, 1, 0, position, True, rng.integers(0, 99, 120))
               for position in (0, 1)]
    whole = [frame.payload for vector in vectors for frame in vector.frames()]
    assert len(whole) == 6
    for changed in ([0, 2], [1, 2], [0, 1, 1], [0, 1, 5], [0, 4], [1], [5]):
        assembler = Assembler(ChainCommand.RESIDUAL, 120)
        with pytest.raises(ValueError, match="in place of"):
            list(map(assembler.add, [whole[number] for number in changed]))
        # The next whole vector is taken.
        assert [assembler.add(whole[number]) is None for number in (3, 4, 5)] == [
            True, True, False]
    for payload in (b"", whole[0][:-1], VECTOR.pack(1, 0, 1, 0, 0) + bytes(5 * 121)):
        with pytest.raises(ValueError, match=r"no whole values|more than 120"):
            Assembler(ChainCommand.RESIDUAL, 120).add(payload)


# A board without its process

def vector(model: ImportedModel, token: int, position: int, run: int = 1,
           sequence: int = 0) -> Vector:
    return Vector(ChainCommand.RESIDUAL, run, sequence, position, True,
                  model.embedding[token].astype(np.int64))


@pytest.mark.parametrize("boards", [1, 2, 3, 5])
def test_parts_equal_the_whole(rng: np.random.Generator, path: Path, boards: int) -> None:
    model = ImportedModel.load(path)
    tokens = tokens_of(rng, 6)
    parts = [ChainBoard(model, layers) for layers in cut_layers(model.shape, boards)]
    for position, want in enumerate(wanted(path, tokens)):
        result = vector(model, tokens[position], position)
        for board in parts:
            result = board.take(result)
            assert isinstance(result, Vector)
        assert np.array_equal(result.values, want)
    assert [board.tokens for board in parts] == [6] * boards


def test_what_a_board_refuses(path: Path) -> None:
    """A state that is lost is no reason to go on with another."""
    model = ImportedModel.load(path)
    board = ChainBoard(model, range(2))
    assert isinstance(board.take(vector(model, 1, 0)), Vector)
    assert isinstance(board.take(vector(model, 2, 1)), Vector)

    def refused(given: Vector) -> tuple[int, int, int]:
        frame = board.take(given)
        assert isinstance(frame, Frame)
        _, _, why, came, expected = REFUSED.unpack(frame.payload)
        return why, came, expected

    for position in (1, 3, 70_000):
        assert refused(vector(model, 1, position)) == (Refusal.POSITION, position, 2)
    assert refused(vector(model, 1, 1, sequence=7)) == (Refusal.POSITION, 1, 0)
    far = Vector(ChainCommand.RESIDUAL, 1, 0, 2, True, np.full(60, 1 << FORMATS.residual_bits - 1))
    assert refused(far) == (Refusal.INCOMPLETE, 2, 2)
    # A new run knows nothing of the state before; what comes of the old one then is dropped.
    assert refused(vector(model, 1, 2, run=2)) == (Refusal.POSITION, 2, 0)
    assert board.take(vector(model, 1, 2, run=1)) is None
    assert isinstance(board.take(vector(model, 1, 0, run=2)), Vector)


@pytest.mark.parametrize("shape", [
    SHAPES["370M"], SHAPES["2.7B"], Shape(layers=5, hidden=60, inner=100, vocabulary=300),
    Shape(layers=7, hidden=16, inner=16, vocabulary=50_000)])
def test_cuts_are_the_best_there_are(shape: Shape) -> None:
    head = shape.vocabulary * shape.hidden
    for boards in {1, 2, 3, 4, shape.layers}:
        parts = cut_layers(shape, boards)
        assert [layer for part in parts for layer in part] == list(range(shape.layers))
        assert all(parts)

        def largest(ends: Sequence[int]) -> int:
            sizes = [b - a for a, b in itertools.pairwise((0, *ends, shape.layers))]
            loads = [size * shape.layer_weights for size in sizes]
            return max(*loads[:-1], loads[-1] + head) if boards > 1 else loads[0]  # noqa: B023

        if boards <= 3:
            best = min(map(largest, itertools.combinations(range(1, shape.layers), boards - 1)))
            assert largest([part.stop for part in parts[:-1]]) == best
    for boards in (0, shape.layers + 1):
        with pytest.raises(ChainError, match=f"goes on 1 to {shape.layers} boards"):
            cut_layers(shape, boards)


# Processes

@pytest.mark.parametrize("boards", [2, 4])
def test_the_tokens_of_one_board(rng: np.random.Generator, path: Path, boards: int) -> None:
    """Three sequences at a time, of different lengths, and one that restarts."""
    streams = {sequence: tokens_of(rng, 5 + sequence) for sequence in (0, 1, 9)}
    want = {sequence: wanted(path, tokens) for sequence, tokens in streams.items()}
    with Chain(path, boards, timeout_s=60) as chain:
        got = chain.feed({sequence: tokens[:3] for sequence, tokens in streams.items()})
        for sequence in streams:
            assert np.array_equal(got[sequence], want[sequence][2])
        for position in (3, 4):
            got = chain.feed({sequence: [tokens[position]]
                              for sequence, tokens in streams.items()})
            for sequence in streams:
                assert np.array_equal(got[sequence], want[sequence][position])
        runner = ChainRunner(chain, 1)
        assert np.array_equal(np.stack([runner.step(token) for token in streams[1]]), want[1])
        assert runner.saturations.counts == {}
        with pytest.raises(TokenError, match=r"\[0, 299\], not \[300\]"):
            runner.step(VOCABULARY)
        results = chain.results()
        assert [board["starts"] for board in results["boards"]] == [1] * boards
        assert results["recoveries"] == []
        assert sum(len(range(*board["layers"])) + 1 for board in results["boards"]) == 5
        pids = chain.pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@SIGNALS
def test_what_happens_to_a_neighbour(rng: np.random.Generator, path: Path) -> None:
    """Killed, stopped for long, stopped for a moment, a frame lost: the same logits."""
    tokens = tokens_of(rng, 12)
    want = wanted(path, tokens)
    told: list[str] = []
    with Chain(path, 3, timeout_s=3, progress=told.append) as chain:
        def step(position: int) -> None:
            got = chain.feed({0: [tokens[position]]})[0]
            assert np.array_equal(got, want[position])

        step(0)
        os.kill(chain.pids[1], signal.SIGKILL)
        step(1)
        [recovery] = chain.recoveries
        assert (recovery.board, recovery.why) == (2, "ended (signal 9)")
        assert (recovery.tokens, recovery.restarted) == (2, True)
        assert "board 2 of 3 (layers 2-3) ended (signal 9); the sequences are fed again" in told
        # Two at a time: the first and the last.
        os.kill(chain.pids[0], signal.SIGKILL)
        os.kill(chain.pids[2], signal.SIGKILL)
        step(2)
        step(3)
        step(4)
        os.kill(chain.pids[1], signal.SIGSTOP)
        step(5)
        assert (chain.recoveries[-1].board, chain.recoveries[-1].restarted) == (2, True)
        assert "did not answer for 3 s" in chain.recoveries[-1].why
        before = len(chain.recoveries)
        # A moment is no failure.
        stopped = chain.pids[1]
        os.kill(stopped, signal.SIGSTOP)
        waker = os.fork()
        if waker == 0:
            time.sleep(0.5)
            os.kill(stopped, signal.SIGCONT)
            os._exit(0)
        step(6)
        os.waitpid(waker, 0)
        assert len(chain.recoveries) == before
        # A neighbour whose frames are damaged on the way.
        link = join(chain._members[1].port, chain._key, Role.NEIGHBOUR)
        frames = list(vector(chain.model, 1, 7, run=chain._run).frames())
        assert len(frames) == 2
        link.send(frames[1])
        step(7)
        step(8)
        link.close()
        assert any("damaged vector" in recovery.why for recovery in chain.recoveries)
        # One that answers although it is of an older run.
        chain._run += 1
        step(9)
        assert chain.recoveries[-1].why == "has lost its state"
        step(10)
        step(11)


@SIGNALS
def test_failures_that_are_told(rng: np.random.Generator, path: Path) -> None:
    tokens = tokens_of(rng, 3)
    want = wanted(path, tokens)
    with Chain(path, 2, timeout_s=60, restarts=0) as chain:
        assert np.array_equal(chain.feed({0: tokens[:1]})[0], want[0])
        os.kill(chain.pids[1], signal.SIGKILL)
        with pytest.raises(ChainError, match=r"^board 2 of 2 \(layers 3-4 and head\) ended "
                                             r"\(signal 9\), failure 1 in a row; no token"):
            chain.feed({0: tokens[1:2]})
    # Another model in the place of the one that the host has: on a restart too.
    whole = path.read_bytes()
    with Chain(path, 2, timeout_s=60) as chain:
        assert np.array_equal(chain.feed({0: tokens[:1]})[0], want[0])
        made = Synthetic.random(rng, hidden=60, layers=5, inner=100, vocabulary=VOCABULARY)
        import_checkpoint(Checkpoint(made.write(path.parent / "other")), path)
        os.kill(chain.pids[0], signal.SIGKILL)
        with pytest.raises(ChainError, match=r"board 1 of 2 \(.*\): it has another model"):
            chain.feed({0: tokens[1:2]})
        path.write_bytes(whole[:-9])
        os.kill(chain.pids[1], signal.SIGKILL)
        with pytest.raises(ChainError, match=r"it did not start: imported model .* is truncated"):
            chain.feed({0: tokens[1:2]})
    path.write_bytes(whole)


def test_chains_that_cannot_be(path: Path) -> None:
    with pytest.raises(ChainError, match="goes on 1 to 5 boards, not 6"):
        Chain(path, 6)
    for options in ({"timeout_s": 0}, {"restarts": -1}):
        with pytest.raises(ChainError, match="must be positive and restarts at least 0"):
            Chain(path, 2, **options)  # type: ignore[arg-type]  # one or the other


def test_strangers_are_shown_the_door(rng: np.random.Generator, path: Path) -> None:
    """A connection without the key, or that begins otherwise, is closed and changes nothing."""
    tokens = tokens_of(rng, 2)
    want = wanted(path, tokens)
    with Chain(path, 2, timeout_s=60) as chain:
        chain.feed({0: tokens[:1]})
        port = chain._members[0].port
        stranger = join(port, bytes(16), Role.HOST)
        with pytest.raises(ChainError, match=r"closed|lost"):
            stranger.receive(10)
        rude = join(port, chain._key, Role.NEIGHBOUR)
        rude.send(Frame(0, ChainCommand.STATUS, b"\0"))
        with pytest.raises(ChainError, match=r"closed|lost"):
            rude.receive(10)
        noise = join(port, chain._key, Role.NEIGHBOUR)
        noise.socket.sendall(rng.bytes(5000) + encode_frame(Frame(0, 0x77, b"x")))
        with pytest.raises(ChainError, match=r"closed|lost"):
            noise.receive(10)
        for link in (stranger, rude, noise):
            link.close()
        assert np.array_equal(chain.feed({0: tokens[1:]})[0], want[1])
        assert chain.recoveries == []


def test_saturations_of_all_boards_are_counted(path: Path) -> None:
    model = ImportedModel.load(path)
    board = ChainBoard(model, range(2, 5))
    # A residual stream at its end, and gains that take it beyond.
    big = np.full(60, (1 << FORMATS.residual_bits - 1) - 1)
    board.take(Vector(ChainCommand.RESIDUAL, 1, 0, 0, True, big))
    runner = open_runner(model)
    runner.logits(runner.advance(big, range(2, 5)))
    sha256, first, last, head, tokens, *counts = CHAIN_STATUS.unpack(board.status(0))
    assert (sha256.hex(), first, last, head, tokens) == (model.sha256, 2, 5, 1, 1)
    assert dict(zip(CHAIN_KINDS, counts, strict=True)) == {
        kind: runner.saturations.counts.get(kind, 0) for kind in CHAIN_KINDS}
    assert runner.saturations.counts["residual"] > 0
    assert set(CHAIN_STATUS.unpack(board.status(1))[5:]) == {0}


def test_a_board_that_has_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                   capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", StringIO("00\n"))
    assert main([str(tmp_path / "absent"), "0", "1"]) == 2
    assert "cannot be used" in capsys.readouterr().err
