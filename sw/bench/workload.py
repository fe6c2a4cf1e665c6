"""Workload of a benchmark: prompts, number of tokens, temperature, seeds."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from trilight.sw.errors import BenchError, UnknownCharacterError
from trilight.sw.host.generation import check_request
from trilight.sw.model.model import Model
from trilight.sw.model.text import plain_text

__all__ = ["Query", "Workload", "load_prompts"]

TOKENS = 100
TEMPERATURE = 0.8
SEED = 20_240_604


@dataclass(frozen=True)
class Query:
    """One query: a prompt and the seed of its continuation."""

    prompt: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Queries that are run one after the other, batch 1, each from a clean state."""

    prompts: tuple[str, ...]
    tokens: int = TOKENS
    """Tokens to generate after each prompt."""
    temperature: float = TEMPERATURE
    seed: int = SEED
    """Seed of the first prompt; each further one adds 1."""

    @property
    def requests(self) -> tuple[Query, ...]:
        return tuple(Query(prompt, self.seed + number)
                     for number, prompt in enumerate(self.prompts))

    @property
    def sha256(self) -> str:
        """SHA-256 of everything that decides which tokens a model generates."""
        canonical = json.dumps([self.prompts, self.tokens, self.temperature, self.seed])
        return hashlib.sha256(canonical.encode()).hexdigest()

    def check(self, model: Model) -> None:
        """Refuse what ``model`` cannot run.

        Raises
        ------
        PromptError
            A number is out of its range.
        BenchError
            The model's vocabulary lacks characters of a prompt.
        """
        for request in self.requests:
            try:
                check_request(model, request.prompt, tokens=self.tokens,
                              temperature=self.temperature, seed=request.seed)
            except UnknownCharacterError as error:
                raise BenchError(f"prompt {request.prompt!r}: {error}; give prompts that suit the "
                                 "model with --prompts FILE, one on each line") from error


def load_prompts(path: Path | None = None) -> tuple[str, ...]:
    """Return the prompts of a text file, one on each line; by default the bundled ones.

    Raises
    ------
    BenchError
        The file cannot be read, or holds no prompt.
    """
    file = path or resources.files("trilight.sw.bench").joinpath("prompts.txt")
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise BenchError(f"prompts {path} cannot be read: {error.strerror}; give a text file with "
                         "one prompt on each line") from error
    except UnicodeDecodeError as error:
        raise BenchError(f"prompts {path} are not UTF-8 text: {error}") from error
    prompts = tuple(_lines(plain_text(text)[0]))
    if not prompts:
        raise BenchError(f"prompts {path} holds no prompt; write one on each line")
    return prompts


def _lines(text: str) -> Iterator[str]:
    return (line for line in text.splitlines() if line)
