"""Selftest of a board: identity, link, weight memory, tokens, cycles; one verdict.

Everything that is expected is worked out here: tokens by the integer reference, the CRC of the
weights from what was written, cycles by the performance model. So a board that differs has a fault,
or another design.
"""

import enum
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from trilight.hw.contract.device import Device
from trilight.hw.contract.protocol import MAX_WORDS, WORD_BYTES, Region
from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.errors import DeviceError, LinkError, TrilightError
from trilight.sw.model.bundled import default_model_path
from trilight.sw.model.model import Model
from trilight.sw.report.performance import predict

from .driver import Board
from .emulator import ReferenceTransport
from .link import Link, read_request, write_request
from .weight_crc import WeightCheck

__all__ = ["SCHEMA", "Finding", "Selftest", "Verdict", "model_for", "selftest"]

SCHEMA = "trilight/selftest/v1"

LINK_FRAMES = 64
"""Frames of random words that are sent and read back."""

PROMPTS = ("ROMEO:", "JULIET:")
TOKENS = 48
TEMPERATURE = 0.8
SEED = 7

CYCLES_TOLERANCE = 0.005
"""Share by which cycles per token may be off: a few tokens begin and end a run."""

CLOCK_TOLERANCE = 0.15
"""Share by which a rate measured over the link may be below the clock's: the host has other things
to do."""

Progress = Callable[[str], None]


class Verdict(enum.StrEnum):
    """One word for all of it: the worst of what was found."""

    PASS = "pass"
    SLOW = "slow"
    """Right, but with more cycles or a lower rate than its design has."""
    NOISY = "noisy"
    """Right, but frames were lost on the way."""
    WRONG = "wrong"
    """Other tokens, or a memory that does not keep what is written."""
    DEAD = "dead"
    """The chip stopped answering, or refused what it should do."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Result of a step."""

    step: str
    verdict: Verdict
    text: str
    """Finding in a sentence."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """Numbers, ready for JSON."""


@dataclass(frozen=True, kw_only=True)
class Selftest:
    """Results of all steps that were reached."""

    target: str
    findings: Sequence[Finding]

    @property
    def verdict(self) -> Verdict:
        """The worst one."""
        order = list(Verdict)
        return max((finding.verdict for finding in self.findings), key=order.index)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"schema": SCHEMA, "target": self.target, "verdict": self.verdict.value,
                "findings": [asdict(finding) for finding in self.findings]}


def model_for(device: Device) -> Model:
    """Return the bundled model, or for a device that is too small a random one that fits."""
    bundled = Model.load(default_model_path())
    if not bundled.config.violations(device):
        return bundled
    for d_model in range(120, 0, -8):
        config = ModelConfig(vocab_size=max(32, device.min_rows), d_model=d_model, n_layers=1,
                             d_hidden=d_model)
        if not config.violations(device):
            return Model.random(config, SEED)
    raise DeviceError(f"no model fits a device of {device.weight_words:,} weight words; flash "
                      "another design")


def selftest(board: Board, releases: Mapping[str, Mapping[str, Any]], *, seed: int = SEED,
             progress: Progress = lambda _text: None) -> Selftest:
    """Test a board.

    Parameters
    ----------
    board
        Any target; what is loaded in it is lost.
    releases
        Figures of released builds by board, as ``trilight.sw.report.releases.load_releases`` gives.
    seed
        Of random words.
    progress
        Called with what begins.
    """
    rng = np.random.default_rng(seed)
    findings = [_identity(board, releases)]
    steps: list[tuple[str, Callable[[], list[Finding]]]] = [
        ("link", lambda: [_link(board, rng)]),
        ("weight memory", lambda: [_memory(board, rng)]),
        ("tokens", lambda: _tokens(board, releases)),
    ]
    for name, step in steps:
        progress(name)
        try:
            findings += step()
        except (LinkError, DeviceError) as error:
            findings.append(Finding(step=name, verdict=Verdict.DEAD, text=str(error)))
            break
    return Selftest(target=board.transport.name, findings=findings)


def _identity(board: Board, releases: Mapping[str, Mapping[str, Any]]) -> Finding:
    identity = board.identity
    device = asdict(identity.device)
    device["weight_memory"] = identity.device.weight_memory.value
    known = [name for name, release in releases.items()
             if release["build_id"] == identity.build_id]
    text = (f"the released design of {known[0]}" if known else
            "a design that is none of those released here, such as one of your own"
            if identity.clock_hz else "an emulated device, which has no clock")
    return Finding(step="identity", verdict=Verdict.PASS, text=text, figures={
        "build_id": f"{identity.build_id:08x}", "clock_hz": identity.clock_hz,
        "baud": identity.clock_hz / identity.clocks_per_bit if identity.clocks_per_bit else None,
        "released": known[0] if known else None, "device": device})


def _link(board: Board, rng: np.random.Generator) -> Finding:
    """Write frames of random words onto the tape, and read them back."""
    tape = board.identity.device.tape_tokens * board.identity.device.sequences
    mask = (1 << board.identity.device.token_bits) - 1
    link = Link(board.transport)
    words = min(MAX_WORDS, tape)
    wrong = 0
    began = time.monotonic()
    for _ in range(LINK_FRAMES):
        data = rng.integers(mask + 1, size=words).astype("<u2").tobytes()
        link.request(write_request(Region.TAPE, data)).check()
        wrong += link.request(read_request(Region.TAPE, words)).check() != data
    seconds = time.monotonic() - began
    sent = 2 * LINK_FRAMES
    figures = {"frames": sent, "repeats": link.repeats, "damaged": link.damaged, "wrong": wrong,
               "bytes_per_s": sent * words * WORD_BYTES / seconds}
    if wrong:
        return Finding(step="link", verdict=Verdict.WRONG, figures=figures,
                       text=f"{wrong} of {LINK_FRAMES} frames came back with other words than were "
                            "written, though their CRC was right")
    if link.repeats or link.damaged:
        return Finding(step="link", verdict=Verdict.NOISY, figures=figures,
                       text=f"of {sent} frames {link.repeats} had to be sent again and "
                            f"{link.damaged} came damaged; use a shorter cable or a lower rate")
    return Finding(step="link", verdict=Verdict.PASS, figures=figures,
                   text=f"{sent} frames of random words, none lost")


def _memory(board: Board, rng: np.random.Generator) -> Finding:
    """Fill the weight memory with random words and with their complement."""
    link = Link(board.transport)
    words = board.identity.device.weight_words * board.identity.device.packing.word_units
    # What the model was is not what it is any more.
    board.forget()
    pattern = rng.integers(1 << 16, size=words).astype("<u2")
    size = WORD_BYTES * MAX_WORDS
    for number, content in enumerate((pattern, ~pattern)):
        data = content.tobytes()
        check = WeightCheck(link, WORD_BYTES * board.identity.device.packing.word_units)
        check.expect(data)
        for response in link.exchange([
                write_request(start // WORD_BYTES, data[start:start + size])
                for start in range(0, len(data), size)]):
            response.check()
        if not check.holds():
            place = _first_difference(link, data)
            return Finding(
                step="weight memory", verdict=Verdict.WRONG,
                figures={"words": words, "first_difference": place},
                text=f"the CRC of the weight memory is wrong with pattern {number}"
                     + (f": 16-bit word {place:,} does not hold what was written" if
                        place is not None else ", though each word reads right"))
    return Finding(step="weight memory", verdict=Verdict.PASS, figures={"words": words},
                   text=f"{words:,} 16-bit words hold random bits and their complement")


def _first_difference(link: Link, data: bytes) -> int | None:
    size = WORD_BYTES * MAX_WORDS
    for start in range(0, len(data), size):
        piece = data[start:start + size]
        found = link.request(read_request(start // WORD_BYTES, len(piece) // WORD_BYTES)).check()
        if found != piece:
            differs = np.frombuffer(found, "<u2") != np.frombuffer(piece, "<u2")
            return start // WORD_BYTES + int(np.argmax(differs))
    return None


def _tokens(board: Board, releases: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    """Generate, and compare tokens with the reference and cycles with the performance model."""
    device = board.identity.device
    model = model_for(device)
    prompts = PROMPTS if set("".join(PROMPTS)) <= set(model.vocab) else (
        model.decode([1, 2, 3]), model.decode([4]))
    with Board(ReferenceTransport(device)) as reference:
        reference.load(model)
        expected = _generate(reference, prompts)
    board.load(model)
    findings = []
    for number in sorted({1, min(device.sequences, len(prompts))}):
        found = _generate(board, prompts[:number])
        run = board.last_run
        assert run is not None
        right = found == {prompt: expected[prompt] for prompt in range(number)}
        figures = {"model_sha256": model.sha256, "prompts": list(prompts[:number]),
                   "tokens": run.tokens, "found": found,
                   "expected": {k: expected[k] for k in range(number)},
                   "recoveries": run.recoveries, "repeats": run.repeats}
        step = f"tokens, {number} at once" if number > 1 else "tokens"
        findings.append(Finding(
            step=step, figures=figures, verdict=Verdict.PASS if right else Verdict.WRONG,
            text=f"{len(found) * TOKENS} tokens, each the reference's" if right else
            "other tokens than the reference's: "
            + "; ".join(_where(found[k], expected[k]) for k in found if found[k] != expected[k])))
        findings += _speed(board, model, number, releases)
    return findings


def _where(found: Sequence[int], expected: Sequence[int]) -> str:
    place = next((k for k, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b),
                 min(len(found), len(expected)))
    return f"from token {place} on"


def _generate(board: Board, prompts: Sequence[str]) -> dict[int, list[int]]:
    tokens: dict[int, list[int]] = {k: [] for k in range(len(prompts))}
    for token in board.generate_many(prompts, tokens=TOKENS, temperature=TEMPERATURE,
                                     seeds=range(SEED, SEED + len(prompts))):
        tokens[token.prompt].append(token.id)
    return tokens


def _speed(board: Board, model: Model, sequences: int,
           releases: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    run, clock_hz = board.last_run, board.identity.clock_hz
    assert run is not None
    if run.cycles_per_token is None or not clock_hz:
        return []
    try:
        wanted = predict(model.config, sequences=sequences,
                         device=board.identity.device).cycles_per_token
    except TrilightError:
        return []
    beside = {name: release["cycles_per_token"] for name, release in releases.items()
              if release["model_sha256"] == model.sha256
              and release.get("sequences", 1) == sequences}
    measured = run.tokens / run.host_seconds if run.host_seconds else None
    figures = {"cycles_per_token": run.cycles_per_token, "computed_cycles_per_token": wanted,
               "tokens_per_s_at_clock": clock_hz / run.cycles_per_token,
               "tokens_per_s_by_host": measured, "released_cycles_per_token": beside}
    off = run.cycles_per_token / wanted - 1
    simulated = board.transport.timeout_scale > 1
    late = (measured is not None and not simulated
            and measured < (1 - CLOCK_TOLERANCE) * clock_hz / run.cycles_per_token)
    slow = off > CYCLES_TOLERANCE or late
    text = (f"{run.cycles_per_token:,.1f} cycles per token, computed {wanted:,.1f}"
            + "".join(f", {name} {cycles:,.1f}" for name, cycles in beside.items())
            + f"; {clock_hz / run.cycles_per_token:,.0f} tokens/s at {clock_hz / 1e6:g} MHz"
            + (f", {measured:,.0f} by this computer's clock" if measured and not simulated else ""))
    return [Finding(step=f"speed, {sequences} at once" if sequences > 1 else "speed",
                    verdict=Verdict.SLOW if slow else Verdict.PASS, text=text, figures=figures)]
