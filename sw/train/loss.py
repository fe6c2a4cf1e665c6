"""Loss of a network on a text, by either protocol."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from trilight.sw.quality.evaluate import WINDOW_CHARACTERS

from .float_network import FloatNetwork, Transformer
from .network import Network

__all__ = ["stateful_loss", "windows_loss"]

_EVALUATED_TOGETHER = 128


@torch.no_grad()
def stateful_loss(network: Network | FloatNetwork | Transformer, tokens: NDArray[np.int64], *,
                  batch_size: int = 64) -> float:
    """Return a network's mean loss in nats per character, without dropout.

    The tokens are cut and scored as by the protocol ``stateful`` of
    ``trilight.sw.quality.evaluate``.
    """
    length = len(tokens) // batch_size
    pieces = torch.from_numpy(tokens[:batch_size * length].reshape(batch_size, length).T)
    pieces = pieces.contiguous().to(network.embedding.device)
    state, total = network.start(batch_size), 0.0
    for begin in range(0, length - 1, _EVALUATED_TOGETHER):
        targets = pieces[begin + 1:begin + _EVALUATED_TOGETHER + 1]
        logits, state = network(pieces[begin:begin + len(targets)], state)
        total += functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), reduction="sum").item()
    return total / ((length - 1) * batch_size)


@torch.no_grad()
def windows_loss(network: Network | FloatNetwork | Transformer, tokens: NDArray[np.int64], *,
                at_a_time: int = 64) -> float:
    """Return a network's mean loss in nats per character by the protocol ``windows``."""
    whole = (len(tokens) - 1) // WINDOW_CHARACTERS * WINDOW_CHARACTERS
    size = at_a_time * WINDOW_CHARACTERS
    spans = [(begin, min(begin + size, whole), WINDOW_CHARACTERS)
             for begin in range(0, whole, size)]
    if whole < len(tokens) - 1:
        spans.append((whole, len(tokens) - 1, len(tokens) - 1 - whole))
    total = 0.0
    for begin, end, window in spans:
        inputs, targets = (
            torch.from_numpy(tokens[begin + shift:end + shift]).view(-1, window).T.contiguous()
            .to(network.embedding.device) for shift in (0, 1))
        logits, _ = network(inputs, network.start(inputs.shape[1]))
        total += functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), reduction="sum").item()
    return total / (len(tokens) - 1)
