"""The recurrence ``h[t] = c[t] + f[t] * (h[t-1] - c[t])`` as an operator with a gradient.

``torch.ops.trilight.scan(f, c, h0)`` takes ``f`` and ``c`` of ``[T, B, d]`` and the state before,
``h0`` of ``[B, d]``, and returns ``h`` of ``[T, B, d]``. On a processor a step is one call; on CUDA
all steps are one kernel, each way (``scan_cuda.py``).
"""

from typing import Any

import torch
from torch import Tensor

__all__: list[str] = []


@torch.library.custom_op("trilight::scan", mutates_args=(), device_types="cpu")
def _scan(f: Tensor, c: Tensor, h0: Tensor) -> Tensor:
    f, c = f.contiguous(), c.contiguous()
    h = torch.empty_like(c)
    before = h0
    # One call that makes all views: as many calls as characters would take as long as the work.
    for f_t, c_t, h_t in zip(f.unbind(), c.unbind(), h.unbind(), strict=True):
        before = torch.lerp(c_t, before, f_t, out=h_t)
    return h


@_scan.register_kernel("cuda")
def _scan_on_cuda(f: Tensor, c: Tensor, h0: Tensor) -> Tensor:
    from .scan_cuda import scan

    return scan(f, c, h0)


@_scan.register_fake
def _scan_fake(f: Tensor, c: Tensor, h0: Tensor) -> Tensor:
    return torch.empty_like(c, memory_format=torch.contiguous_format)


@torch.library.custom_op("trilight::scan_grad", mutates_args=(), device_types="cpu")
def _scan_grad(f: Tensor, grad: Tensor) -> Tensor:
    """Return the loss's gradient by each ``h[t]``, later characters included."""
    f, grad = f.contiguous(), grad.contiguous()
    total = torch.empty_like(grad)
    total[-1] = grad[-1]
    after, f_after = total[-1], f[-1]
    for f_t, grad_t, total_t in reversed(
            list(zip(f.unbind(), grad.unbind(), total.unbind(), strict=True))[:-1]):
        after, f_after = torch.addcmul(grad_t, f_after, after, out=total_t), f_t
    return total


@_scan_grad.register_kernel("cuda")
def _scan_grad_on_cuda(f: Tensor, grad: Tensor) -> Tensor:
    from .scan_cuda import scan_grad

    return scan_grad(f, grad)


@_scan_grad.register_fake
def _scan_grad_fake(f: Tensor, grad: Tensor) -> Tensor:
    return torch.empty_like(grad, memory_format=torch.contiguous_format)


def _setup(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs, output)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
    f, c, h0, h = ctx.saved_tensors
    total = torch.ops.trilight.scan_grad(f, grad)
    before = torch.cat([h0[None], h[:-1]])
    return total * (before - c), total * (1 - f), None


_scan.register_autograd(_backward, setup_context=_setup)
