"""Energy of operations and memory reads, and what a character takes of both."""

import dataclasses
import json
from importlib import resources

import numpy as np
import pytest

from trilight.hw.contract.shapes import ModelConfig
from trilight.sw.errors import PowerError
from trilight.sw.power.operations import MemoryRead, Work, energy_of_work
from trilight.sw.train.work import FORMATS, work_per_character

TABLE = json.loads(resources.files("trilight.sw.power").joinpath("operations_45nm.json")
                   .read_text(encoding="utf-8"))
SHAPE = ModelConfig(vocab_size=65, d_model=160, n_layers=3, d_hidden=229)
KINDS = [("ternary", "trits"), ("float", "float32"), ("float", "int8"),
         ("transformer", "float32"), ("transformer", "int8")]


def of(kind: str, form: str, shape: ModelConfig = SHAPE) -> Work:
    return work_per_character(shape, kind, form)


@pytest.mark.parametrize("name", TABLE["arithmetic"]["operations"])
def test_an_operation_costs_what_the_table_says(name: str) -> None:
    pj = TABLE["arithmetic"]["operations"][name]["pj"]
    energy = energy_of_work(Work({name: 2000}, ()))
    assert energy.arithmetic_nj == pytest.approx(2 * pj)
    assert energy.memory_nj == 0
    low, high = np.percentile(energy.samples_nj, (5, 95))
    assert high / low == pytest.approx(TABLE["arithmetic"]["factor"] ** 2, rel=0.05)


def test_products_of_16_bits_lie_between_those_published() -> None:
    """Whose geometric mean they are."""
    energies = TABLE["arithmetic"]["operations"]
    multiply_int32 = 3.1
    assert energies["multiply_int16"]["pj"] == pytest.approx(
        (energies["multiply_int8"]["pj"] * multiply_int32) ** 0.5, abs=0.005)


def test_reads_cost_what_the_table_says_and_more_from_larger_memories() -> None:
    def pj(size: int) -> float:
        return 1e3 * energy_of_work(Work({}, (MemoryRead(64, size),))).memory_nj

    for point in TABLE["memory"]["accesses"]:
        assert pj(point["bytes"]) == pytest.approx(point["pj"])
    sizes = [2**k for k in range(8, 26)]
    energies = [pj(size) for size in sizes]
    assert energies == sorted(set(energies))
    # Between two published sizes, the geometric mean of sizes has that of energies.
    assert pj(16384) == pytest.approx((pj(8192) * pj(32768)) ** 0.5)


def test_what_two_energies_do_not_know_cancels() -> None:
    work = of("float", "float32")
    ratio = energy_of_work(work).ratio(energy_of_work(work))
    assert (ratio.p05, ratio.p50, ratio.p95) == (1, 1, 1)


def test_unknown_operations_are_refused() -> None:
    with pytest.raises(PowerError, match=r"must be of add_float32, .*, not divide$"):
        energy_of_work(Work({"divide": 1}, ()))


def test_figure_says_what_it_is() -> None:
    figure = energy_of_work(of("ternary", "trits")).to_dict()
    assert figure["provenance"] == "modelled"
    assert figure["boundary"] == "arithmetic_and_memory_reads"
    assert "Horowitz" in figure["source"]
    assert figure["value"] == pytest.approx(figure["arithmetic"] + figure["memory"])
    assert figure["interval"]["p05"] < figure["value"] < figure["interval"]["p95"]


@pytest.mark.parametrize(("kind", "form"), KINDS)
def test_weights_are_read_once(kind: str, form: str) -> None:
    weights, *others = of(kind, form).reads
    assert weights.bits == 8 * weights.memory_bytes
    per_weight = weights.bits / SHAPE.ternary_weights
    expected = {"trits": 1.6, "int8": 8, "float32": 32}[form]
    # Trits: five in a byte, and the padding of the words.
    assert expected <= per_weight < expected * 1.02
    assert bool(others) == (kind == "transformer")


@pytest.mark.parametrize(("kind", "form"), KINDS[1:])
def test_each_real_weight_takes_a_product_and_an_addition(kind: str, form: str) -> None:
    """What is left grows with the width, not with its square."""
    wide = dataclasses.replace(SHAPE, d_model=320, d_hidden=458)
    for what in ("multiply", "add"):
        rest = [of(kind, form, shape).count(what) - shape.ternary_weights
                for shape in (SHAPE, wide)]
        assert 0 < rest[0] < 0.5 * SHAPE.ternary_weights
        assert rest[1] <= 2 * rest[0] < rest[1] + 2 * SHAPE.vocab_size


def test_a_ternary_weight_takes_an_addition_unless_it_is_zero() -> None:
    full, sparse = (work_per_character(SHAPE, "ternary", "trits", zero_share=share)
                    for share in (0.0, 0.4))
    assert full.count("add") - sparse.count("add") == pytest.approx(0.4 * SHAPE.ternary_weights)
    assert full.count("multiply") == sparse.count("multiply") < 0.02 * SHAPE.ternary_weights
    # A zero takes as much memory as any weight.
    assert full.reads == sparse.reads


def test_every_format_is_named() -> None:
    assert {form for _, form in KINDS} == set(FORMATS)
