"""Tokens of an imported model on the core's own RTL, against the integer reference.

The reference computes a token; so does the core, from the same residual stream, and every value
that it shows must be the reference's: codes, row sums, multipliers, pre-activations, sigmoids,
states, gated vectors, residual stream and logits.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilight.hw.contract.device import Device, WeightMemory
from trilight.hw.contract.imported import FORMATS, ImportedDevice, Kind
from trilight.hw.imported.timing import RESULT, SILU
from trilight.sim.native.imported import CoreToken, NativeImportedCore
from trilight.sw.checkpoint.image import core_image
from trilight.sw.checkpoint.importer import make_matrix
from trilight.sw.checkpoint.layout import GAINS
from trilight.sw.checkpoint.model import ImportedMatrix, ImportedModel
from trilight.sw.checkpoint.reader import TernaryMatrix
from trilight.sw.checkpoint.reference import ImportedReference, silu
from trilight.sw.checkpoint.shape import LAYER_MATRICES, SHAPES, Shape
from trilight.sw.errors import ModelDoesNotFitError
from trilight.sw.plan.cost import TILE_ROWS
from trilight.sw.plan.cycles import TokenSchedule

__all__ = ["LEAST_INNER", "Verification", "check_fits", "core_device", "probe_counts",
           "random_model", "verify"]

Integers = NDArray[np.int64]
Values = Mapping[tuple[str, int], Integers]
"""Values by stage and layer, as ``ImportedReference.step`` shows them."""

RANDOM_TOKENS = 16
"""Rows of a random model's embedding: as many of its tokens can be fed."""

LEAST_INNER = RESULT - SILU + 2
"""Width of a GLU whose gates are written before the other half of the rows reads them."""

Advance = Callable[[int, int], None]
"""Called with the tokens that are done and those there are."""


def core_device(lanes: int) -> ImportedDevice:
    """The core for every published model, its weights and parameters streams from outside."""
    shapes = SHAPES.values()
    return ImportedDevice(
        engine=Device(
            name=f"imported models, {lanes} lanes", lanes=lanes, sequences=1,
            max_columns=max(shape.inner for shape in shapes),
            max_rows=max(shape.vocabulary for shape in shapes), tile_rows=TILE_ROWS,
            weight_words=1 << 20, weight_memory=WeightMemory.EXTERNAL),
        max_hidden=max(shape.hidden for shape in shapes),
        state_words=max(shape.layers * shape.hidden for shape in shapes))


def check_fits(shape: Shape, layers: int, head: bool, device: ImportedDevice) -> None:
    """Compare sizes of a model with those of a core.

    Raises
    ------
    ModelDoesNotFitError
        One is too large or too small.
    """
    engine = device.engine
    sizes = {
        "width": (shape.hidden, device.max_hidden),
        "width of the GLU": (shape.inner, engine.max_columns),
        "rows of gate and up": (2 * shape.inner, engine.max_rows),
        "vocabulary": (shape.vocabulary if head else 1, engine.max_rows),
        "state": (layers * shape.hidden, device.state_words)}
    for what, (size, maximum) in sizes.items():
        if size > maximum:
            raise ModelDoesNotFitError(f"the model's {what} of {size:,} is more than the "
                                       f"{maximum:,} of {engine.name}")
    minimum = engine.min_rows
    if min(shape.hidden, 2 * shape.inner, shape.vocabulary) < minimum:
        raise ModelDoesNotFitError(f"the model has a matrix of fewer than {minimum} rows, which "
                                   f"the engine of {engine.name} needs; it runs on the target "
                                   "reference")
    if shape.inner < LEAST_INNER:
        raise ModelDoesNotFitError(f"the model's GLU is {shape.inner} wide, and {engine.name} "
                                   f"needs {LEAST_INNER}; it runs on the target reference")


def random_model(shape: Shape, seed: int) -> ImportedModel:
    """A model of random trits and gains, in memory."""
    rng = np.random.default_rng(seed)

    def matrix(name: str) -> ImportedMatrix:
        rows, columns = shape.matrix(name)
        codes = rng.integers(-1, 2, (rows, columns), np.int8)
        norm = rng.normal(1, 0.2, columns) if name in GAINS else None
        return make_matrix(TernaryMatrix(codes, 1 / np.sqrt(columns)),
                           rng.normal(1, 0.2, columns), norm)

    layers = tuple({name: matrix(name) for name in LAYER_MATRICES} for _ in range(shape.layers))
    embedding = rng.normal(0, 1 << 24, (RANDOM_TOKENS, shape.hidden)).astype(np.int32)
    bounds = rng.integers(0, 1 << FORMATS.sigmoid_bits, (shape.layers, shape.hidden), np.int32)
    return ImportedModel(
        shape=shape, residual_frac=24, embedding=embedding, lower_bounds=bounds, layers=layers,
        head=matrix("head"), about={"random_seed": seed}, tokenizer=b"", sha256="")


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Result of a comparison."""

    rows: int
    """Row sums that were compared."""
    wrong: int
    """Row sums that differ."""
    values: int
    """Other values that were compared."""
    wrong_values: int
    """Other values that differ."""
    weights: int
    """Ternary weights that took part in a token."""
    cycles: int
    """Cycles of a token, counted by the core."""
    words: int
    """Weight words of a token, counted by the core."""
    planned: int
    """Cycles that ``trilight plan`` computes for the same."""
    tokens: int
    compile_s: float
    run_s: float
    lanes: int

    @property
    def passed(self) -> bool:
        """Every value is right, and the cycles are those of the plan."""
        return self.wrong == 0 == self.wrong_values and self.cycles == self.planned

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "passed": self.passed,
                "boundary": "a token on the core's RTL, embedding looked up on the host"}


def verify(model: ImportedModel, *, lanes: int = 8, layers: Sequence[int] | None = None,
           head: bool = True, tokens: Sequence[int] = (1,), pauses: float = 0, seed: int = 0,
           device: ImportedDevice | None = None, advance: Advance | None = None) -> Verification:
    """Compare every value of some tokens of a sequence with the reference's.

    Parameters
    ----------
    lanes
        Byte lanes of the engine.
    layers
        Neighbours that are run on the core, from the residual stream before the first of them.
        Default: all.
    head
        Whether the head is run, which is behind the last layer.
    pauses
        Chance that a stream keeps the core waiting in a cycle.
    seed
        Of the pauses.
    device
        Default: the one for every published model.

    Raises
    ------
    ModelDoesNotFitError
        A size is too large or too small for the core.
    SimulationError, BuildError
        The core cannot be compiled, or broke a promise besides that of right numbers.
    """
    began = time.perf_counter()
    built = core_device(lanes) if device is None else device
    check_fits(model.shape, model.shape.layers if layers is None else len(layers), head, built)
    core = NativeImportedCore(built)
    compiled = time.perf_counter()
    chosen = range(model.shape.layers) if layers is None else layers
    image = core_image(model, built, chosen, head)
    counts = probe_counts(model.shape, len(chosen), head)
    # What follows the last layer that is asked for is not needed.
    shown = replace(model, shape=replace(model.shape, layers=model.shape.layers if head
                                         else max(chosen) + 1))
    reference = ImportedReference(shown)
    wrong = dict.fromkeys(counts, 0)
    cycles = words = 0
    for number, token in enumerate(tokens):
        trace = _trace(reference, token)
        found = core.token(image, trace["i.input", chosen[0]], counts, zero_state=number == 0,
                           pauses=pauses, seed=seed + number)
        for name, differ in _differences(trace, found, chosen, head).items():
            wrong[name] += differ
        cycles, words = cycles + found.cycles, words + found.words
        if layers is None:
            wrong["residual"] += found.saturations != reference.saturations.total
            wrong["logit"] += head and found.best != int(np.argmax(trace["logits",
                                                                         model.shape.layers]))
        if advance is not None:
            advance(number + 1, len(tokens))
    count = len(tokens)
    planned = TokenSchedule(model.shape, built.engine, layers=len(chosen), head=head).cycles
    return Verification(
        rows=count * counts["sum"], wrong=wrong.pop("sum"),
        values=count * sum(counts.values()) - count * counts["sum"],
        wrong_values=sum(wrong.values()),
        weights=len(chosen) * model.shape.layer_weights + head * model.shape.vocabulary
        * model.shape.hidden,
        cycles=cycles // count, words=words // count, planned=planned, tokens=count,
        compile_s=compiled - began, run_s=time.perf_counter() - compiled, lanes=lanes)


def probe_counts(shape: Shape, layers: int, head: bool) -> dict[str, int]:
    """Values of each probe in a token."""
    h, n, v = shape.hidden, shape.inner, shape.vocabulary * head
    gated = layers * (3 * h + n)
    return {"code": layers * (5 * h + n) + h * head, "sum": layers * (5 * h + 2 * n) + v,
            "multiplier": layers * len(LAYER_MATRICES) + head, "argument": gated, "gate": gated,
            "result": layers * (3 * h + 2 * n), "residual": layers * 2 * h, "logit": v}


def _trace(reference: ImportedReference, token: int) -> dict[tuple[str, int], Integers]:
    """Values of a token by stage and layer."""
    found: dict[tuple[str, int], Integers] = {}

    def keep(stage: str, layer: int, values: Integers) -> None:
        found[stage, layer] = values

    reference.step(token, keep)
    return found


def _differences(trace: Values, found: CoreToken, layers: Sequence[int],
                 head: bool) -> dict[str, int]:
    """Values that differ, or are missing, by probe."""
    differ = {}
    for name, wanted in _expected(trace, layers, head).items():
        got = found.values[name]
        shorter = min(len(got), len(wanted))
        differ[name] = (abs(len(got) - len(wanted))
                        + int(np.count_nonzero(got[:shorter] != wanted[:shorter])))
    return differ


def _expected(trace: Values, layers: Sequence[int], head: bool) -> dict[str, Integers]:
    """Every value of a token that the core shows, by probe and in its order."""
    parts: dict[str, list[Integers]] = {}

    def add(**values: Integers) -> None:
        for name, value in values.items():
            parts.setdefault(name, []).append(value)

    names = [(layer, kind.matrix) for layer in layers for kind in Kind if kind is not Kind.HEAD]
    for layer, name in [*names, *([(layers[-1] + 1, "head")] if head else [])]:
        add(code=trace[f"{name}.codes", layer], sum=trace[f"{name}.sums", layer],
            multiplier=_multiplier(trace[f"{name}.norm", layer]))
    for layer in layers:
        state, gate = trace["state", layer], silu(trace["gate.z", layer])
        candidate = silu(trace["i.z", layer])
        add(argument=np.concatenate([trace["i.z", layer], trace["f.z", layer], state,
                                     trace["gate.z", layer]]),
            gate=np.concatenate([candidate, trace["forget", layer], silu(state), gate]),
            result=np.concatenate([candidate, state, trace["mixed", layer], gate,
                                   trace["gated", layer]]),
            residual=np.concatenate([trace["gate.input", layer], trace["residual", layer]]))
    add(logit=trace["logits", layers[-1] + 1] if head else np.zeros(0, np.int64))
    return {name: np.concatenate(values) for name, values in parts.items()}


def _multiplier(norm: Integers) -> Integers:
    """Mantissa and fraction bits as the core has them."""
    mantissa, fraction = norm[3:].tolist()
    return np.array([mantissa | (fraction & 0xFFF) << FORMATS.scale_bits])
