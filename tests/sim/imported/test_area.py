"""Area of the core for imported models, by Yosys."""

import pytest

from trilight.sim.imported.area import CELLS, core_area


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_core_fits_an_85f() -> None:
    area = core_area("370M", 8)
    parts = {name: cells for name, cells in area.items() if name != "all"}
    for kind in CELLS:
        assert sum(cells[kind] for cells in parts.values()) == area["all"][kind]
    assert area["all"]["LUT4"] + 2 * area["all"]["CCU2C"] < 83_640 / 4
    assert area["all"]["DP16KD"] <= 208
    assert area["all"]["MULT18X18D"] <= 156
    # The tables and what follows them need no multiplier.
    assert area["engine"]["MULT18X18D"] == 0
