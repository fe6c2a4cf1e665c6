"""The iCEBreaker with a chip that learns while it reads, of one sequence in place of two."""

from .families.devices import UP5K_LEARNS
from .icebreaker import Icebreaker

__all__ = ["IcebreakerLearns"]


class IcebreakerLearns(Icebreaker):
    """iCEBreaker that learns while it reads."""

    name = "icebreaker-learns"
    title = "1BitSquared iCEBreaker, learns while it reads"
    device = UP5K_LEARNS
    ready_made = False
