"""Documents keep to their schema, and the schema refuses what a report must not be."""

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from trilight.sw.bench.document import load_schema

Document = dict[str, Any]

VALIDATOR = Draft202012Validator(load_schema())
KINDS = ("modelled", "measured", "baselines", "no energy")


def errors(document: Document) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(document)]


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(load_schema())


@pytest.mark.parametrize("kind", KINDS)
def test_documents_keep_to_it(kind: str, documents: dict[str, Document]) -> None:
    document = documents[kind]
    assert errors(document) == []
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def figure(document: Document, name: str = "joules_per_token") -> dict[str, Any]:
    found: dict[str, Any] = document["systems"][0]["figures"][name]
    return found


BREAKS: dict[str, Callable[[Document], Any]] = {
    "another version": lambda d: d.update(schema="trilight/bench/v2"),
    "no systems": lambda d: d["systems"].clear(),
    "an unknown key": lambda d: d.update(stars=5),
    "a bare number": lambda d: d["systems"][0]["figures"].update(joules_per_token=1e-6),
    "a number without origin": lambda d: figure(d).update(provenance=None),
    "a number without boundary": lambda d: figure(d).update(boundary=None),
    "a number without source": lambda d: figure(d).update(source=None),
    "an unknown boundary": lambda d: figure(d).update(boundary="laptop"),
    "an unknown origin": lambda d: figure(d).update(provenance="estimated"),
    "neither number nor reason": lambda d: figure(d).update(value=None),
    "energy of a system without boundary": lambda d: d["systems"][0].update(boundary=None),
    "a headline without quality": lambda d: d["headline"].pop("bits_per_byte"),
    "a headline of another quantity": lambda d: d["headline"].update(
        above_idle=figure(d)),
    "above idle without a measurement": lambda d: d["systems"][0]["figures"].update(
        joules_per_token_above_idle=figure(d)),
    "carbon without source": lambda d: d.update(carbon={"g_per_kwh": 300.0}),
    "a rival without link": lambda d: d["field"][0].update(url="somewhere"),
    "a comparison without warnings": lambda d: d["comparisons"][0].pop("warnings"),
    "a time that is none": lambda d: d.update(utc="yesterday"),
    "half a hash": lambda d: d["model"].update(sha256="abc"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_the_schema_refuses(name: str, documents: dict[str, Document]) -> None:
    broken = deepcopy(documents["modelled"])
    BREAKS[name](broken)
    assert errors(broken)


def test_headline_is_the_total_with_its_quality(documents: dict[str, Document]) -> None:
    for document in documents.values():
        figures = document["systems"][0]["figures"]
        assert document["headline"]["tokens_per_joule"] == figures["tokens_per_joule"]
        assert document["headline"]["bits_per_byte"] == figures["bits_per_byte"]
    measured = documents["measured"]
    above = figure(measured, "joules_per_token_above_idle")["value"]
    assert measured["headline"]["tokens_per_joule"]["value"] == pytest.approx(
        1 / figure(measured)["value"])
    assert measured["headline"]["tokens_per_joule"]["value"] < 1 / above


@pytest.mark.parametrize("kind", KINDS)
def test_every_comparison_with_a_warning_is_among_the_warnings(
        kind: str, documents: dict[str, Document]) -> None:
    document = documents[kind]
    for entry in document["comparisons"]:
        for text in entry["warnings"]:
            assert any(entry["other"] in warning["text"] and text in warning["text"]
                       for warning in document["warnings"]), (entry["other"], text)
    assert [entry["other"] for entry in document["comparisons"]].count(
        document["field"][0]["name"]) == (kind != "no energy")


def test_warnings_of_systems_are_kept(documents: dict[str, Document]) -> None:
    texts = [warning["text"] for warning in documents["baselines"]["warnings"]]
    assert any("9 W assumed (data sheet)" in text for text in texts)


def test_other_tokens_void_the_figures(describe: Callable[..., dict[str, Any]],
                                       document_of: Callable[..., Document]) -> None:
    system = describe()
    system["tokens"] = {"same_as_reference": False, "first_difference": "query 1, token 2"}
    document = document_of(system)
    assert document["quality"]["bit_exact"] is False
    assert any("none of its figures count" in warning["text"] for warning in document["warnings"])


def test_bits_per_weight(documents: dict[str, Document]) -> None:
    model = documents["modelled"]["model"]
    # Five trits to a byte, and padding.
    assert 8 / 5 <= model["bits_per_weight"] < 4
