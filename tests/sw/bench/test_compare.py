"""Comparisons, and the warnings that they carry."""

from collections.abc import Callable
from typing import Any

import pytest

from trilight.sw.bench.compare import compare_rival, compare_systems
from trilight.sw.bench.field import load_field, rival_entry
from trilight.sw.bench.system import AssumedPower, Expected

Describe = Callable[..., dict[str, Any]]


def test_alike_compares_without_a_warning(describe: Describe) -> None:
    entry = compare_systems(describe(), describe())
    assert entry is not None
    assert entry["warnings"] == []
    interval = describe()["figures"]["tokens_per_joule"]["interval"]
    assert entry["ratio"] == pytest.approx([interval["p05"] / interval["p95"],
                                            interval["p95"] / interval["p05"]])


def test_another_boundary_is_warned_of(describe: Describe, measurement: dict[str, Any]) -> None:
    core, board = (describe(measurement={**measurement, "boundary": name})
                   for name in ("fpga_core", "board"))
    entry = compare_systems(core, board)
    assert entry is not None
    assert entry["warnings"] == ["FPGA core rails against board supply"]


def test_another_origin_is_warned_of(describe: Describe, measurement: dict[str, Any]) -> None:
    entry = compare_systems(describe(), describe(measurement=measurement))
    assert entry is not None
    assert entry["warnings"] == ["modelled against measured"]


def test_other_tokens_are_warned_of(describe: Describe, describe_local: Describe,
                                    expected: Expected) -> None:
    other = Expected(((0, *expected.tokens[0][1:]), *expected.tokens[1:]))
    local = describe_local(power=AssumedPower(8.0, "x"), expected=other)
    entry = compare_systems(describe(), local)
    assert entry is not None
    assert "the tokens are not the same" in entry["warnings"]


def test_a_measurement_that_knows_nothing_has_no_upper_ratio(
        describe: Describe, measurement: dict[str, Any]) -> None:
    vague = describe(measurement={**measurement, "joules_per_token": {
        "value": 1e-6, "u_k2": 2e-6, "runs": [1e-6]}})
    entry = compare_systems(describe(measurement=measurement), vague)
    assert entry is not None
    assert entry["ratio"][1] is None
    assert entry["ratio"][0] > 0


def test_nothing_compares_with_nothing(describe: Describe, describe_local: Describe) -> None:
    assert compare_systems(describe(), describe_local()) is None


def test_the_field_is_always_of_another_model(describe: Describe) -> None:
    ours = describe()
    for rival in load_field():
        entry = compare_rival(ours, rival_entry(rival))
        assert entry is not None
        assert any("another model" in text for text in entry["warnings"])
        assert any(text.startswith("modelled against ") for text in entry["warnings"])
        assert any("FPGA core rails against" in text for text in entry["warnings"])
        low, high = rival.tokens_per_joule
        interval = ours["figures"]["tokens_per_joule"]["interval"]
        assert entry["ratio"] == pytest.approx([interval["p05"] / high, interval["p95"] / low])
