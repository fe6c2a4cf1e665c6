"""The tables of docs/power.md are those that the code computes now."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from trilight.sw.power import Activity, Breakdown, energy_by_part, estimate_power, load_coefficients
from trilight.sw.power.designs import check_published, load_designs
from trilight.sw.power.evidence import check_evidence, interval_steps, posterior_bands
from trilight.sw.power.picture import label
from trilight.sw.report.releases import load_releases

PAGE = Path(__file__).resolve().parents[3] / "docs" / "power.md"
RELEASE: dict[str, Any] = dict(load_releases()["icebreaker"])
BREAKDOWN = Breakdown.from_dict(RELEASE["activity"]["breakdown"])
WINDOWS = [Activity.from_dict(window) for window in RELEASE["activity"]["windows"]]
BOARD_HZ = 12e6
RELEASE_MW = estimate_power(BREAKDOWN.activity, RELEASE["clock_hz"], pll=RELEASE["pll"]
                            ).power_mw.p50


def three(value: float) -> str:
    """Three significant digits."""
    return f"{value:.3g}" if value < 100 else f"{float(f'{value:.3g}'):,.0f}"


def row(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def coefficients() -> Iterable[str]:
    for name, c in load_coefficients().coefficients.items():
        unit = c.unit.replace("uA", "µA").replace("uW", "µW")
        yield f"| `{name}` | {c.value:g} {unit} | {c.factor:g} | {c.status} |"


def checks() -> Iterable[str]:
    for check in check_published({n: d.activity for n, d in load_designs().items()}):
        m = check.modelled_mw
        yield row(check.measurement.name, f"{check.measurement.measured_mw:.3f}",
                  f"{m.p50:.3f} ({m.p05:.3f} to {m.p95:.3f})", f"{check.ratio:.3f}")


def clocks() -> Iterable[str]:
    cycles = BREAKDOWN.cycles_per_token
    for hz in (12e6, 24e6, 48e6):
        for pll in (False, True) if hz != BOARD_HZ else (False,):
            power = estimate_power(BREAKDOWN.activity, hz, pll=pll, windows=WINDOWS).power_mw
            energy = power.scaled(1e6 * cycles / hz)
            figures = (power, energy, energy.reciprocal(1e9))
            yield row(f"{hz / 1e6:g} MHz", "yes" if pll else "no", three(hz / cycles), *(
                f"{three(f.p50)} ({three(f.p05)} to {three(f.p95)})" for f in figures))


def energies(group: str) -> Iterable[str]:
    energy = energy_by_part(BREAKDOWN, RELEASE["clock_hz"], pll=RELEASE["pll"])
    for name, entry in energy[group].items():
        span = entry["interval"]
        yield row(label(name), three(entry["value"]), f"{entry['value'] / energy['total']:.1%}",
                  f"{three(span['p05'])} to {three(span['p95'])}")
    yield row("total", three(energy["total"]), "100.0%", "")


def steps() -> Iterable[str]:
    moved = interval_steps(BREAKDOWN.activity, RELEASE["clock_hz"], load_coefficients(),
                           pll=RELEASE["pll"], windows=WINDOWS)
    for number, (name, found) in enumerate(moved.items()):
        yield row(f"+ {name}" if number else name, three(found.p50),
                  f"{three(found.p05)} to {three(found.p95)}", f"{found.p95 / found.p05:.2f}")


def metered() -> Iterable[str]:
    for check in check_evidence(load_coefficients()):
        low, high = check.evidence.measured_mw
        yield row(check.evidence.name, f"{low:.2f} to {high:.2f}", *(
            f"{found.p50:.2f} ({found.p05:.2f} to {found.p95:.2f})"
            for found in (check.predicted_mw, check.modelled_mw)),
            "yes" if check.evidence.counts else "no")


def posterior() -> Iterable[str]:
    for name, band in posterior_bands(load_coefficients()).items():
        c = load_coefficients().coefficients[name]
        yield row(f"`{name}`", f"{three(c.value)} ({three(c.low)} to {three(c.high)})",
                  f"{three(band.p50)} ({three(band.p05)} to {three(band.p95)})",
                  c.unit.replace("uA", "µA").replace("uW", "µW"))


TABLES = {"steps": steps(), "metered": metered(), "posterior": posterior(),
          "coefficients": coefficients(), "checks": checks(), "clocks": clocks(),
          "parts": energies("parts"), "stages": energies("by_stage")}


@pytest.mark.parametrize("table", TABLES)
def test_table_is_current(table: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    lines = list(TABLES[table])
    assert lines
    missing = [line for line in lines if line not in page]
    assert not missing, f"docs/power.md lacks these lines of its table of {table}:\n" + \
        "\n".join(lines)


def test_pages_agree_on_what_a_board_uses() -> None:
    """The same two numbers on each page, and the core's power times them."""
    core_w = 1e-3 * RELEASE_MW
    pages = {name: PAGE.with_name(name).read_text(encoding="utf-8").replace("\n", " ")
             for name in ("power.md", "measuring.md", "report.md")}
    for name, page in pages.items():
        assert "ten to forty times" in page, name
        assert "a quarter of a watt to a watt" in page, name
    assert 10 * core_w == pytest.approx(0.25, rel=0.1)
    assert 40 * core_w == pytest.approx(1.0, rel=0.1)
