"""The page that talks: one HTML file with a released chip and the bundled model in it.

The page's own code is in the files beside this one. What it must know of protocol, model and board
is taken from where each is defined, so nothing of it is written twice.
"""

import base64
import gzip
import html
import json
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

from trilight.hw.contract.device import Device
from trilight.hw.contract.numbers import NUMBERS
from trilight.hw.contract.protocol import (
    ACCESS,
    ADDRESS,
    CRC_BYTES,
    EVENT,
    IDENTITY,
    MAX_FRAME_BYTES,
    MAX_WORDS,
    MIN_FRAME_BYTES,
    PROTOCOL_MAGIC,
    PROTOCOL_VERSION,
    RESPONSE,
    RUN,
    TOKEN_EVENT,
    WEIGHT_CRC,
    Command,
    Region,
    Result,
    RunFlag,
    Slip,
    status_struct,
)
from trilight.hw.support.boards import board_device
from trilight.sim.power.activity import token_stages
from trilight.sim.wasm.library import build_info_of
from trilight.sw.host.weight_crc import WEIGHT_WORD_BYTES
from trilight.sw.model.image import compile_image
from trilight.sw.model.model import Model
from trilight.sw.power import Activity, estimate_power
from trilight.sw.power.picture import label
from trilight.sw.report.releases import Release

__all__ = ["make_page"]

IDENTITY_FIELDS = ("magic", "version", "trits", "lanes", "clockHz", "clocksPerBit", "buildId",
                   "weightWords", "maxRows", "maxColumns", "maxChannels", "programWords",
                   "tapeTokens", "maxVocab", "sequences")
STATUS_FIELDS = ("running", "cycles", "words", "tokens")
"""Fields of a response to STATUS before the position of each sequence."""


def make_page(code: bytes, release: Release, model: Model) -> str:
    """Return the page.

    Parameters
    ----------
    code
        Module of the chip, of ``trilight.sim.wasm``.
    release
        Figures of the same design, for the power of a token.
    model
        What the chip is loaded with.
    """
    known = build_info_of(code)
    device = board_device(known["board"])
    texts = {name: (resources.files(__package__) / name).read_text(encoding="utf-8")
             for name in ("page.html", "page.css", "page.js", "link.js", "worker.js")}
    values = {
        "css": texts["page.css"],
        "link": texts["link.js"],
        "page": texts["page.js"],
        "worker": texts["worker.js"],
        "protocol": _json(_protocol(device)),
        "build_info": _json(_build_info(known, release, model, device)),
        "module": _packed(code),
        "clock_mhz": f"{known['clock_hz'] / 1e6:g}",
        "cells": f"{sum(known['cells'].values()):,}",
        "baud": f"{release['baud']:,.0f}",
        "provenance": _table(known, release, model),
    }
    # Each part is put in once, so that nothing in one of them is taken for the place of another.
    before, *rest = texts["page.html"].split("{{")
    return before + "".join(
        values[name] + after for name, _, after in (part.partition("}}") for part in rest))


def _json(value: object) -> str:
    """JSON that can stand in a script of a page, which a ``</script>`` in a text would end."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, mtime=0)).decode()


def _members(enumeration: Iterable[Any]) -> dict[str, int]:
    return {member.name: member.value for member in enumeration}


def _protocol(device: Device) -> dict[str, Any]:
    return {
        "magic": PROTOCOL_MAGIC.decode(),
        "version": PROTOCOL_VERSION,
        "slip": _members(Slip),
        "command": _members(Command),
        "result": _members(Result),
        "runFlag": _members(RunFlag),
        "region": _members(Region),
        "event": EVENT,
        "response": RESPONSE,
        "crcBytes": CRC_BYTES,
        "minFrameBytes": MIN_FRAME_BYTES,
        "maxFrameBytes": MAX_FRAME_BYTES,
        "maxWords": MAX_WORDS,
        "weightWordBytes": WEIGHT_WORD_BYTES,
        "temperatureFrac": NUMBERS.temperature_frac,
        "formats": {"identity": IDENTITY.format, "status": status_struct(device.sequences).format,
                    "run": RUN.format, "address": ADDRESS.format, "access": ACCESS.format,
                    "weightCrc": WEIGHT_CRC.format, "event": TOKEN_EVENT.format},
        "fields": {"identity": IDENTITY_FIELDS, "status": (
            *STATUS_FIELDS, *(f"position{k}" for k in range(device.sequences)))},
    }


def _build_info(known: Mapping[str, Any], release: Release, model: Model, device: Device,
                ) -> dict[str, Any]:
    activity = release["activity"]
    # Of another design than the released one nothing is known.
    power = known["design_sha256"] == release["design_sha256"] and estimate_power(
        Activity.from_dict(activity["busy"]), known["clock_hz"], pll=release["pll"],
        windows=[Activity.from_dict(window) for window in activity.get("windows", [])]).power_mw
    first, rest = token_stages(model.config)
    config = model.config
    words = [*(operation.words for _ in range(config.n_layers)
               for operation in config.layer_operations(device.packing)),
             config.head(device.packing).words, 0]
    named = [(label(stage.name) + ("" if stage.layer is None else f", {label(stage.layer)}"),
              stage.ends.trace, stage.ends.pulses, count)
             for stage, count in zip(rest, words, strict=True)]
    return {
        "baud": round(release["baud"]),
        "clock_hz": known["clock_hz"],
        "clocks_per_bit": known["clocks_per_bit"],
        "power_mw": [power.p05, power.p50, power.p95] if power else None,
        "stages": {"first": [(stage.ends.trace, stage.ends.pulses) for stage in first],
                   "rest": named, "total": sum(words)},
        "vocabulary": list(model.vocab),
        "image": [(int(address), _packed(units.astype("<u2").tobytes()))
                  for address, units in compile_image(model, device).segments],
    }


def _table(known: Mapping[str, Any], release: Release, model: Model) -> str:
    rows = {
        "design before synthesis, SHA-256": known["design_sha256"],
        "netlist, SHA-256": known["netlist_sha256"],
        "model, SHA-256": model.sha256,
        "made with": ", ".join(f"{name} {number}" for name, number in known["tools"].items()),
        "clock": f"{known['clock_hz'] / 1e6:g} MHz, {release['clock_source']}",
    }
    return "".join(f"<tr><td>{html.escape(name)}</td><td>{html.escape(str(value))}</td></tr>"
                   for name, value in rows.items())
