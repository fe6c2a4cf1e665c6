"""The recurrence as one kernel each way, in Triton.

A program of the grid holds the state of ``_COLUMNS`` of the ``B * d`` channels in registers and
walks along the characters, so ``f`` and ``c`` are read once and ``h`` is written once. Triton comes
with PyTorch's builds for CUDA; its interpreter (``TRITON_INTERPRET=1``) runs the same kernels on a
processor, for the tests.
"""

import triton
import triton.language as tl
from torch import Tensor, empty_like

__all__ = ["scan", "scan_grad"]

_COLUMNS = 128


@triton.jit
def _forward(f, c, h0, h, length, columns, COLUMNS: tl.constexpr):  # type: ignore[no-untyped-def]
    here = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    inside = here < columns
    state = tl.load(h0 + here, mask=inside)
    for _ in range(length):
        candidate = tl.load(c + here, mask=inside)
        state = candidate + tl.load(f + here, mask=inside) * (state - candidate)
        tl.store(h + here, state, mask=inside)
        f += columns
        c += columns
        h += columns


@triton.jit
def _backward(f, grad, total, length, columns, COLUMNS: tl.constexpr):  # type: ignore[no-untyped-def]
    here = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    inside = here < columns
    end = (length - 1) * columns
    f += end
    grad += end
    total += end
    later = tl.zeros((COLUMNS,), tl.float32)
    for _ in range(length):
        later = tl.load(grad + here, mask=inside) + later
        tl.store(total + here, later, mask=inside)
        later = tl.load(f + here, mask=inside) * later
        f -= columns
        grad -= columns
        total -= columns


def scan(f: Tensor, c: Tensor, h0: Tensor) -> Tensor:
    """Return ``h [T, B, d]`` of ``f`` and ``c [T, B, d]`` and ``h0 [B, d]``, in float32."""
    f, c, h0 = f.contiguous(), c.contiguous(), h0.contiguous()
    h = empty_like(c)
    _forward[(triton.cdiv(h0.numel(), _COLUMNS),)](f, c, h0, h, len(f), h0.numel(), _COLUMNS)
    return h


def scan_grad(f: Tensor, grad: Tensor) -> Tensor:
    """Return the loss's gradient by each ``h[t]``, of that by its use at ``t``, ``[T, B, d]``."""
    f, grad = f.contiguous(), grad.contiguous()
    total = empty_like(grad)
    columns = f[0].numel()
    _backward[(triton.cdiv(columns, _COLUMNS),)](f, grad, total, len(f), columns, _COLUMNS)
    return total
