"""What the pages say of the campaigns in docs/results/, whichever design these were made with."""

import json
from pathlib import Path

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
