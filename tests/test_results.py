"""What the pages say of the campaigns in docs/results/, whichever design these were made with."""

import json
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"
RESULTS = {path.name: json.loads(path.read_text(encoding="utf-8"))
           for path in sorted((DOCS / "results").glob("*.json"))}


def test_tokens_of_the_soak() -> None:
    soak = RESULTS["soak.json"]
    rtl, netlist = soak["rtl"], soak["netlist"]
    assert rtl["differences"] == netlist["differences"] == 0
    page = (DOCS / "proofs.md").read_text(encoding="utf-8").replace("\n", " ")
    assert (f"{rtl['tokens']:,} tokens of rtl over {rtl['shapes']} shapes and "
            f"{netlist['tokens']:,} of the netlist over {netlist['shapes']}, without a difference"
            ) in page


def test_page_of_the_baselines() -> None:
    """Each row's speed, energy and bytes, and the ratios that the text draws from them."""
    page = (DOCS / "baselines.md").read_text(encoding="utf-8")
    text = page.replace("\n", " ")
    systems = {system["name"]: {name: figure.get("value")
                                for name, figure in system["figures"].items()}
               for system in RESULTS["baselines.json"]["systems"]}
    chip, *others = systems.values()
    assert f"| {chip['tokens_per_s']:,.0f} | {1e6 * chip['joules_per_token']:.2f} µJ (" in page
    for name, figures in list(systems.items())[1:]:
        [line] = [line for line in page.splitlines() if line.startswith(f"| `{name}`:")]
        millijoules = float(f"{1e3 * figures['joules_per_token']:.3g}")
        assert f"| {figures['processor_tokens_per_s']:,.0f} | {millijoules:g} mJ |" in line
        assert f"| {figures['model_bytes']:,} |" in line
        assert figures["joules_per_token"] * figures["processor_tokens_per_s"] == pytest.approx(65)
    c, numba, *_ = others
    faster = numba["processor_tokens_per_s"] / chip["tokens_per_s"]
    assert f"{faster:.1f} times as fast as the chip" in text
    portable = c["processor_tokens_per_s"] / chip["tokens_per_s"]
    assert f"{portable:.1f} times as fast in portable C" in text
    little, much = (watts / chip["tokens_per_s"] for watts in (0.25, 1))
    assert f"{1e6 * little:.0f} µJ" in page
    assert f"{1e6 * much:.0f} µJ" in page
    assert (f"{numba['joules_per_token'] / much:.0f} to {numba['joules_per_token'] / little:.0f} "
            "times fewer joules") in text
    assert f"{0.25 * faster:.1f} to {faster:.1f} W more" in text
