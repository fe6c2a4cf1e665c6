"""The report of a run: speed, energy and quality, each figure with where it comes from.

``build_report`` turns what a run left behind (``Run``) and what is known of the released builds
into a JSON-able object, which ``display`` shows. ``docs/report.md`` explains every figure.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from trilight.sw.errors import ReportError
from trilight.sw.power import Activity, estimate_power

from .figures import (
    Figure,
    chip_clock,
    chip_speed,
    cycles_per_token,
    energy,
    host_speed,
    power_figure,
    quality,
    stated_quality,
    utilisation,
)
from .releases import Release, released_builds
from .run import ReleasedBuild, Run, find_build

__all__ = ["NOTES", "SCHEMA", "build_report"]

SCHEMA = "trilight/report/v1"

NOTES = (
    ("Power and energy are those of the FPGA core alone (VCC and VCCPLL). USB bridge, flash, LEDs, "
     "I/O and regulator of a board use many times more."),
    ("No measurement tells the energy of a block RAM or SPRAM access alone: both are assumed, with "
     "a band of a factor of 3 either way, and one metered design says what they are together."),
    ("Energy is that of computing tokens: waiting for the host, configuring the FPGA and loading "
     "the model are left out."),
)


def build_report(run: Run, releases: Mapping[str, Release]) -> dict[str, Any]:
    """Return the report of a run as a JSON-able object, schema ``trilight/report/v1``.

    Parameters
    ----------
    run
        What the run left behind.
    releases
        Released builds by board, from ``load_releases``. A figure of a release is used only when
        the release is what ran, by the hash of the netlist or of the design or by the identity;
        or, for a device without a clock, when the release was counted with the same model.

    Returns
    -------
    dict
        ``texts`` has prompt, text, tokens and seed of each prompt, and ``sequences`` says how many
        of them ran at once; ``prompt``, ``text``, ``token_ids`` and ``seed`` are those of the
        first. ``cycles_per_token``, ``utilisation``, ``clock_hz``, ``tokens_per_s`` and
        ``tokens_per_joule`` are plain values over all of them, ``None`` where there is none;
        ``figures`` holds each with unit, provenance, boundary, source and interval, or the reason
        why there is none.

    Raises
    ------
    ReportError
        If a release lacks an entry.
    """
    for name, release in releases.items():
        if missing := Release.__required_keys__ - set(release):
            raise ReportError(f"release {name!r} lacks {', '.join(sorted(missing))}")
    build = find_build(run, releases)
    clock = chip_clock(run, build)
    cycles = cycles_per_token(run, build)
    activity = _activity(run, build)
    pll = build.release["pll"] if build else True
    power_details: dict[str, Any] | None = None
    idle = Figure.missing("mW", "no activity of the waiting chip is on record for what ran")
    if activity is None or clock.value is None:
        power = Figure.missing("mW", clock.reason or "the activity of what ran is not known: "
                                                     "no released build matches it")
    else:
        # The spread from token to token, if what ran was counted token by token.
        windows = [] if run.activity or not build else [
            Activity.from_dict(window)
            for window in build.release["activity"].get("windows", [])]
        estimate = estimate_power(activity[0], clock.value, pll=pll, windows=windows)
        power = power_figure(estimate, clock, activity[1])
        if build:
            waiting = Activity.from_dict(build.release["activity"]["idle"])
            idle = power_figure(estimate_power(waiting, clock.value, pll=pll), clock,
                                 "counted on the released netlist while it waits for the host")
        power_details = {
            "coefficients": {"id": estimate.coefficients.id,
                             "sha256": estimate.coefficients.sha256,
                             "part": estimate.coefficients.part,
                             "calibration": estimate.calibration},
            "activity": activity[0].to_dict(),
            "activity_source": activity[1],
            "split_mw": estimate.split_mw,
            "nominal_mw": estimate.nominal_mw,
            "variance_share": estimate.variance_share,
            "voltage_v": estimate.voltage_v,
            "temperature_c": estimate.temperature_c,
            "pll": pll,
            "pll_provenance": "release" if build else "assumed",
            "draws": estimate.draws,
            "seed": estimate.seed,
        }
    figures = {
        "cycles_per_token": cycles,
        "utilisation": utilisation(run, cycles),
        "clock_hz": clock,
        "tokens_per_s": chip_speed(clock, cycles),
        "host_tokens_per_s": host_speed(run),
        "power_mw": power,
        "idle_power_mw": idle,
        **energy(run, power, clock, cycles),
        **quality(run.model),
    }
    hashes, hashes_missing = _hashes(run, build)
    return {
        "schema": SCHEMA,
        "token_ids": list(run.generation.token_ids),
        "text": run.generation.text,
        **{name: figures[name].value for name in (
            "cycles_per_token", "utilisation", "clock_hz", "tokens_per_s", "tokens_per_joule")},
        "texts": [{**asdict(text), "token_ids": list(text.token_ids)}
                  for text in run.generation.generated],
        "sequences": run.generation.sequences,
        "prompt": run.generation.prompt,
        "target": run.target,
        "temperature": run.generation.temperature,
        "seed": run.generation.seed,
        "model": {"sha256": run.model.sha256, **run.model.config.to_dict(),
                  "ternary_weights": run.model.config.ternary_weights,
                  "quality": dict(stated_quality(run.model)) or None},
        "release": build and {"board": build.release["board"], "match": build.match},
        "build": _board_build(run),
        "figures": {name: asdict(figure) for name, figure in figures.items()},
        "power": power_details,
        "hashes": hashes,
        "hashes_missing": hashes_missing,
        "tools": {**(build.release["tools"] if build else {}), **run.tools},
        "notes": list(NOTES),
    }


def _activity(run: Run, build: ReleasedBuild | None) -> tuple[Activity, str] | None:
    """Return the activity while computing, and where it was counted."""
    if run.activity:
        return run.activity, f"counted on this run's netlist, {run.activity.cycles:,} cycles"
    if build is None:
        return None
    activity = Activity.from_dict(build.release["activity"]["busy"])
    which = "this" if build.release["model_sha256"] == run.model.sha256 else "another"
    return activity, (f"counted on the released netlist with {which} model, {build.batch}, "
                      f"{activity.cycles:,} cycles")


def _board_build(run: Run) -> dict[str, Any] | None:
    """Return what is released of the board that ran: its part, area and clock."""
    for figures in released_builds().values():
        same = (run.build_id, run.clock_hz) == (figures["build_id"], figures["clock_hz"])
        if run.design_sha256 == figures["design_sha256"] or (run.build_id is not None and same):
            return {name: figures[name] for name in (
                "board", "part", "clock_hz", "clock_source", "fmax_hz", "timing_signed_off",
                "resources")}
    return None


def _hashes(run: Run, build: ReleasedBuild | None) -> tuple[dict[str, str | None], dict[str, str]]:
    """Return the hashes of what ran or figures were taken from, and why some are missing."""
    release = build.release if build else None
    hashes = {
        "model_sha256": run.model.sha256,
        "design_sha256": run.design_sha256 or (release and release["design_sha256"]),
        "netlist_sha256": run.netlist_sha256 or (release and release["netlist_sha256"]),
        "bitstream_sha256": run.bitstream_sha256,
    }
    reasons = dict.fromkeys(
        hashes, f"nothing that target {run.target} ran matches a released build"
    ) | {"bitstream_sha256": "no bitstream ran, or only the board knows which"}
    return hashes, {name: reasons[name] for name, value in hashes.items() if value is None}
