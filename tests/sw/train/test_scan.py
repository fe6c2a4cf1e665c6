"""The recurrence: kernels for CUDA, run by Triton's interpreter, beside a loop in float64."""

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from numpy.typing import NDArray

SHAPES = ((1, 1, 1), (7, 3, 50), (40, 2, 129))

PROGRAM = """
import sys
import numpy as np, torch
from trilight.sw.train import scan_cuda
given = [torch.from_numpy(array) for array in np.load(sys.argv[1]).values()]
f, c, h0, grad = given
np.savez(sys.argv[2], h=scan_cuda.scan(f, c, h0).numpy(),
         total=scan_cuda.scan_grad(f, grad).numpy())
"""


def reference(f: NDArray[np.float32], c: NDArray[np.float32], h0: NDArray[np.float32],
              grad: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """States, and the gradient by each of them, in float64."""
    f, c, grad = (part.astype(float) for part in (f, c, grad))
    h, total = np.empty_like(c), np.empty_like(c)
    before = h0.astype(float)
    for t in range(len(f)):
        h[t] = before = f[t] * before + (1 - f[t]) * c[t]
    later = np.zeros_like(before)
    for t in reversed(range(len(f))):
        total[t] = grad[t] + later
        later = f[t] * total[t]
    return h, total


def inputs(rng: np.random.Generator, shape: tuple[int, int, int]) -> list[NDArray[np.float32]]:
    arrays = (rng.random(shape), rng.normal(size=shape), rng.normal(size=shape[1:]),
              rng.normal(size=shape))
    return [array.astype(np.float32) for array in arrays]


@pytest.mark.parametrize("shape", SHAPES)
def test_on_a_processor(shape: tuple[int, int, int], seed: int) -> None:
    torch = pytest.importorskip("torch", reason="training needs PyTorch: pip install "
                                                "'trilight[train]'")
    from trilight.sw.train import scan  # noqa: F401  registers the operator

    given = inputs(np.random.default_rng(seed), shape)
    f, c, h0, grad = (torch.from_numpy(array).requires_grad_() for array in given)
    h, total = reference(*given)
    found = torch.ops.trilight.scan(f, c, h0)
    assert np.abs(found.detach().numpy() - h).max() < 1e-5
    found.backward(grad)
    before = np.concatenate([given[2][None], h[:-1]])
    assert np.abs(f.grad.numpy() - total * (before - given[1])).max() < 1e-4
    assert np.abs(c.grad.numpy() - total * (1 - given[0])).max() < 1e-5


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.skipif(not find_spec("triton"), reason="Triton comes with PyTorch for CUDA only")
def test_kernels_for_cuda(shape: tuple[int, int, int], seed: int, tmp_path: object) -> None:
    given = inputs(np.random.default_rng(seed), shape)
    source, target = f"{tmp_path}/given.npz", f"{tmp_path}/found.npz"
    np.savez(source, *given)
    # The interpreter is chosen by what the environment says when the kernels are defined.
    subprocess.run([sys.executable, "-c", PROGRAM, source, target], check=True,
                   env={"TRITON_INTERPRET": "1"})
    found = np.load(target)
    h, total = reference(*given)
    assert np.abs(found["h"] - h).max() < 1e-5
    assert np.abs(found["total"] - total).max() < 1e-5
