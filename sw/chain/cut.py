"""Division of a model's layers over the boards of a chain."""

from trilight.sw.checkpoint.shape import Shape
from trilight.sw.errors import ChainError

__all__ = ["cut_layers"]


def cut_layers(shape: Shape, boards: int) -> list[range]:
    """Runs of layers, one for each board, whose largest share of the weights is smallest.

    The head counts with the last layer, whose board has it.

    Raises
    ------
    ChainError
        There are more boards than layers, or fewer than one.
    """
    if not 1 <= boards <= shape.layers:
        raise ChainError(f"a model of {shape.layers} layers goes on 1 to {shape.layers} boards, "
                         f"not {boards}")
    head = shape.vocabulary * shape.hidden / shape.layer_weights

    if boards == 1:
        return [range(shape.layers)]

    def largest(own: int) -> float:
        """With so many layers on the last board; the others divide the rest evenly."""
        return max(own + head, -(-(shape.layers - own) // (boards - 1)))

    own = min(range(1, shape.layers - boards + 2), key=largest)
    rest, parts, first = shape.layers - own, list[range](), 0
    for board in range(boards - 1):
        size = rest // (boards - 1) + (board < rest % (boards - 1))
        parts.append(range(first, first + size))
        first += size
    return [*parts, range(first, shape.layers)]
