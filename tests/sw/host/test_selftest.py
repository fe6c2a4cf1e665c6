"""The selftest finds each kind of fault, and sums it up in the right word."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from trilight.hw.contract.device import Device
from trilight.hw.contract.protocol import Command
from trilight.hw.support.boards import board_device
from trilight.sw.host import selftest as module
from trilight.sw.host.driver import Board
from trilight.sw.host.emulator import ReferenceTransport
from trilight.sw.host.frames import FrameReader, encode_frame
from trilight.sw.host.selftest import Finding, Selftest, Verdict, model_for, selftest
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model
from trilight.sw.report.performance import predict

SMALL = Device(name="small", weight_words=256, max_rows=64, max_columns=40, max_channels=40,
               max_vocab=64, program_words=128)


def run(transport: ReferenceTransport) -> Selftest:
    with Board(transport) as board:
        return selftest(board, {})


def steps(result: Selftest) -> dict[str, Verdict]:
    return {finding.step: finding.verdict for finding in result.findings}


def test_a_sound_device_passes() -> None:
    result = run(ReferenceTransport(SMALL))
    assert result.verdict is Verdict.PASS
    assert list(steps(result)) == ["identity", "link", "weight memory", "tokens",
                                   "tokens, 2 at once"]


class Faulty(ReferenceTransport):
    """A device whose frames from the host pass a function first; ``None`` loses one."""

    def __init__(self, change: Callable[[Any], Any]) -> None:
        super().__init__(SMALL)
        self._change = change
        self._frames_in = FrameReader()

    def write(self, data: bytes) -> None:
        for frame in self._frames_in.feed(data):
            if (changed := self._change(frame)) is not None:
                super().write(encode_frame(changed))


def test_lost_frames_are_noise() -> None:
    lost = iter([True, False] * 3)
    result = run(Faulty(lambda frame: None if frame.command == Command.READ
                        and next(lost, False) else frame))
    assert result.verdict is Verdict.NOISY
    [link] = [finding for finding in result.findings if finding.step == "link"]
    assert link.figures["repeats"] == 3


def test_a_weight_that_does_not_hold_is_named() -> None:
    class Weak(ReferenceTransport):
        def write(self, data: bytes) -> None:
            super().write(data)
            self._memory.weights[77] &= 0xFFFE

    result = run(Weak(SMALL))
    assert result.verdict is Verdict.WRONG
    [memory] = [finding for finding in result.findings if finding.step == "weight memory"]
    assert memory.figures["first_difference"] == 77
    assert "16-bit word 77 does not hold" in memory.text


def test_other_tokens_are_wrong() -> None:
    class Reference(module.ReferenceTransport):
        """Feeds another token than it is told."""

        def _step(self, number: int, text: Any) -> None:
            tape = self._memory.tape(number)
            if text.position == 1:
                tape[1] = (int(tape[1]) + 1) % 16
            super()._step(number, text)

    result = run(Reference(SMALL))
    assert result.verdict in (Verdict.WRONG, Verdict.DEAD)
    assert steps(result)["tokens"] is not Verdict.PASS


def test_a_device_that_hangs_is_dead() -> None:
    transport = ReferenceTransport(SMALL)
    with Board(transport) as board:
        transport.hang()
        result = selftest(board, {})
    assert result.verdict is Verdict.DEAD
    assert steps(result)["tokens"] is Verdict.DEAD


@pytest.mark.parametrize(("factor", "host_share", "verdict"), [
    (1.0, 0.99, Verdict.PASS), (1.02, 0.99, Verdict.SLOW), (1.0, 0.5, Verdict.SLOW)])
def test_cycles_and_rate_beside_what_is_computed(factor: float, host_share: float,
                                                 verdict: Verdict) -> None:
    model = Model.load(default_model_path())
    device = board_device()
    cycles = predict(model.config, device=device).cycles_per_token * factor
    clock = 48_000_000
    tokens = 48
    seconds = tokens * cycles / clock / host_share
    board: Any = SimpleNamespace(
        last_run=SimpleNamespace(cycles_per_token=cycles, tokens=tokens, host_seconds=seconds),
        identity=SimpleNamespace(clock_hz=clock, device=device),
        transport=SimpleNamespace(timeout_scale=1.0))
    [finding] = module._speed(board, model, 1, {"b": {
        "model_sha256": model.sha256, "cycles_per_token": 5.0}})
    assert finding.verdict is verdict
    assert "b 5.0" in finding.text


def test_the_verdict_is_the_worst() -> None:
    def made(*verdicts: Verdict) -> Verdict:
        return Selftest(target="t", findings=[
            Finding(step="s", verdict=verdict, text="") for verdict in verdicts]).verdict

    assert made(Verdict.PASS, Verdict.NOISY, Verdict.SLOW) is Verdict.NOISY
    assert made(Verdict.WRONG, Verdict.PASS) is Verdict.WRONG
    assert made(Verdict.DEAD, Verdict.WRONG) is Verdict.DEAD


def test_the_model_fits_the_device() -> None:
    assert model_for(board_device()).sha256 == Model.load(default_model_path()).sha256
    assert not model_for(SMALL).config.violations(SMALL)
