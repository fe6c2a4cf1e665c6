"""Flash images: a model, and maybe something to say, as the commands that a chip boots with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trilight.hw.contract.device import Device
from trilight.hw.contract.errors import BoardError
from trilight.hw.contract.protocol import (
    ADDRESS,
    FLASH_GAP,
    FLASH_SLOT_BYTES,
    MAX_WORDS,
    RUN,
    TERMINAL,
    TERMINAL_NO_TOKEN,
    TERMINAL_WORDS,
    Command,
    Region,
    RunFlag,
    Slip,
    TerminalWord,
)
from trilight.hw.support.boards import board_device, board_names
from trilight.sw.cli.console import tell_changes
from trilight.sw.errors import ImageError, ModelDoesNotFitError, PromptError
from trilight.sw.model.bundled import bundled_model, default_model_path
from trilight.sw.model.image import Image, Segment, compile_image
from trilight.sw.model.model import Model
from trilight.sw.model.text import prompt_for
from trilight.sw.reference.sampler import temperature_to_fixed

from .frames import Frame, encode_frame
from .generation import check_request

__all__ = ["BootSettings", "Speech", "flash_image", "make_image", "terminal_tables"]

SPEECH_SEQUENCE = 1
"""Sequence number of the run; a host begins with 0, which makes the device forget it."""


@dataclass(frozen=True, kw_only=True)
class BootSettings:
    """Settings of what a chip generates after a line that is typed, or by itself."""

    tokens: int
    """1 to 65,535."""
    temperature: int
    """Q3.8."""


@dataclass(frozen=True, kw_only=True)
class Speech(BootSettings):
    """Text that a chip generates by itself at power-up."""

    prompt: Sequence[int]
    """Tokens, at least one."""
    seed: int


def terminal_tables(vocab: Sequence[str], settings: BootSettings) -> Segment:
    """Return the tables of a chip with a terminal, as a segment.

    A token of several characters, or of one that is not ASCII, is shown as a question mark and can
    not be typed.
    """
    tables = np.full(TERMINAL_WORDS, ord("?"), np.uint16)
    tables[:TerminalWord.TEMPERATURE] = TERMINAL_NO_TOKEN
    for token, character in enumerate(vocab):
        if len(character) == 1 and ord(character) < TerminalWord.TEMPERATURE:
            tables[TerminalWord.CHARACTERS + token] = ord(character)
            if token != TERMINAL_NO_TOKEN:
                tables[ord(character)] = token
    for word, number in ((TerminalWord.TEMPERATURE, settings.temperature),
                         (TerminalWord.TOKENS, settings.tokens)):
        tables[word], tables[word + 1] = number & 0xFF, number >> 8
    return TERMINAL, tables


def flash_image(image: Image, device: Device, speech: Speech | None = None,
                tables: Segment | None = None) -> bytes:
    """Return what a slot of a flash memory holds.

    These are frames as a host would send them. The program goes last, since a chip without one
    runs nothing; then a RUN, or a STOP, ends the boot. The number of the last weight word goes
    first, so that the chip's CRC of its weights is the one that a host expects. ``tables`` are for
    a chip with a terminal.

    Raises
    ------
    ImageError
        It is longer than a slot.
    PromptError
        The prompt or the number of tokens is more than a run takes.
    """
    weights = next(words for address, words in image.segments if address == Region.WEIGHTS)
    last = len(weights) // device.packing.word_units - 1
    segments = [(Region.WEIGHT_CRC, np.array([last & 0xFFFF, last >> 16], np.uint16)),
                *([] if tables is None else [tables]),
                *sorted(image.segments, key=lambda segment: segment[0] == Region.PROGRAM)]
    end = Frame(0, Command.STOP)
    if speech is not None:
        if not 0 < len(speech.prompt) < device.tape_tokens:
            raise PromptError(f"what a board says by itself begins with 1 to "
                              f"{device.tape_tokens - 1} tokens, not {len(speech.prompt)}")
        segments.append((Region.TAPE, np.array(speech.prompt, np.uint16)))
        end = Frame(SPEECH_SEQUENCE, Command.RUN, RUN.pack(
            RunFlag.RESET | RunFlag.SEED | RunFlag.CLEAR, 0, len(speech.prompt), speech.tokens,
            speech.temperature, speech.seed))
    frames = [Frame(0, Command.WRITE, ADDRESS.pack(address + start)
                    + words[start:start + MAX_WORDS].astype("<u2").tobytes())
              for address, words in segments for start in range(0, len(words), MAX_WORDS)]
    gap = bytes([Slip.END]) * FLASH_GAP
    data = gap.join(encode_frame(frame) for frame in [*frames, end])
    if len(data) > FLASH_SLOT_BYTES:
        raise ImageError(f"a slot of flash memory holds {FLASH_SLOT_BYTES:,} bytes, and this model "
                         f"takes {len(data):,}; it has to be loaded by a host")
    return data


def make_image(model: Path | None, device: Device, *, say: str | None, tokens: int,
               temperature: float, seed: int) -> bytes:
    """Return the flash image of a model file, or of the largest bundled model that fits.

    Parameters
    ----------
    say
        Prompt of what the chip says at power-up; nothing without one.
    tokens, temperature, seed
        Of what it says.

    Raises
    ------
    ModelFileError
        The file is missing or damaged.
    ModelDoesNotFitError
        The device is too small; the text names the boards that are not.
    PromptError, UnknownCharacterError
        It can not be said.
    ImageError
        The image is longer than a slot.
    """
    loaded = Model.load(model or bundled_model(device) or default_model_path())
    if not 0 < tokens < 1 << 16:
        raise PromptError(f"a board says 1 to 65,535 tokens by itself, not {tokens:,}")
    settings = BootSettings(tokens=tokens, temperature=temperature_to_fixed(temperature))
    tables = terminal_tables(loaded.vocab, settings) if device.terminal else None
    speech = None
    if say is not None:
        prompt, changes = prompt_for(loaded.vocab, say)
        tell_changes(changes, "the prompt")
        check_request(loaded, prompt, tokens=tokens, temperature=temperature, seed=seed)
        speech = Speech(prompt=loaded.encode(prompt), seed=seed, tokens=tokens,
                        temperature=settings.temperature)
    try:
        image = compile_image(loaded, device)
    except ModelDoesNotFitError as error:
        roomy = ", ".join(_boards_with_room(loaded))
        raise ModelDoesNotFitError(f"{error}. " + (
            f"Boards that would hold it: {roomy}" if roomy else
            "No board of those that are installed would hold it")) from error
    return flash_image(image, device, speech, tables)


def _boards_with_room(model: Model) -> Iterator[str]:
    for name in board_names():
        try:
            device = board_device(name)
        except BoardError:
            continue  # of a package that is broken
        if not model.config.violations(device):
            yield name
