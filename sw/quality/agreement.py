"""Cross-check of a target against the integer reference, on a sample of a text.

A device sends tokens and no logits. But a token drawn at temperature 1 depends on every logit, so
equal tokens after many places of a text make the reference's quality the target's.
"""

from collections.abc import Callable
from typing import Any

from trilight.sw.errors import EvaluationError
from trilight.sw.host.driver import Board
from trilight.sw.model.model import Model
from trilight.sw.reference.continuation import continue_text

__all__ = ["PROMPT_CHARACTERS", "check_agreement"]

PROMPT_CHARACTERS = 16
"""Characters of the text that are fed before tokens are drawn, and tokens that are drawn there."""


def check_agreement(board: Board, model: Model, text: str, tokens: int, *,
                    progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Compare tokens that a board draws after places of a text with the reference's.

    Parameters
    ----------
    board
        With ``model`` loaded.
    text
        The places are spread evenly over it.
    tokens
        How many are drawn, at least 1; rounded up to whole places.
    progress
        Called with the tokens compared and the tokens in all.

    Returns
    -------
    dict
        Ready for JSON: ``target``, ``places``, ``tokens_compared``, ``temperature``.

    Raises
    ------
    EvaluationError
        A token differs, or the text or the number is too small.
    """
    if tokens < 1:
        raise EvaluationError(f"a sample must have at least one token, not {tokens}")
    if len(text) < PROMPT_CHARACTERS:
        raise EvaluationError(f"a text must have at least {PROMPT_CHARACTERS} characters to be "
                              f"sampled, not {len(text)}")
    places = -(-tokens // PROMPT_CHARACTERS)
    for number in range(places):
        begin = number * (len(text) - PROMPT_CHARACTERS) // max(places - 1, 1)
        prompt = text[begin:begin + PROMPT_CHARACTERS]
        expected = continue_text(model, prompt, PROMPT_CHARACTERS, seed=number + 1,
                                 temperature=1.0)
        drawn = [token.id for token in board.generate(
            prompt, tokens=PROMPT_CHARACTERS, temperature=1.0, seed=number + 1)]
        if drawn != expected:
            raise EvaluationError(
                f"{board.transport.name} goes on after {prompt!r} with {model.decode(drawn)!r}, "
                f"the reference with {model.decode(expected)!r} (temperature 1, seed "
                f"{number + 1}); the figures of the reference are not the target's")
        if progress is not None:
            progress((number + 1) * PROMPT_CHARACTERS, places * PROMPT_CHARACTERS)
    return {"target": board.transport.name, "places": places,
            "tokens_compared": places * PROMPT_CHARACTERS, "temperature": 1.0}
