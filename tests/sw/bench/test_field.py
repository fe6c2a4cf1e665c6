"""Published figures, and what is computed from them."""

from dataclasses import replace
from io import StringIO

import pytest

from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.support.terminal import Console
from trilight.sw.bench.field import STATUSES, Rival, load_field, rival_entry
from trilight.sw.bench.figures import BOUNDARIES
from trilight.sw.bench.ours import entry_of_release
from trilight.sw.bench.terminal import DISPENSABLE, FIELD_COLUMNS, print_field
from trilight.sw.model.model import Model

FIELD = load_field()
RIVAL = Rival(
    name="x", device="d", model="m", source="s", url="https://example.org", parameters=2e6,
    ternary_weights_per_token=1e6, tokens_per_s=50.0, tokens_per_s_status="measured",
    watts=(2.0, 4.0), watts_status="claimed", boundary="board", bits_per_byte=None,
    quality_data=None, note="", stated_joules_per_token=None)


def test_derived_figures() -> None:
    assert RIVAL.joules_per_token == (0.04, 0.08)
    assert RIVAL.tokens_per_joule == (12.5, 25.0)
    assert RIVAL.giga_ternary_macs_per_joule == (0.0125, 0.025)
    assert replace(RIVAL, ternary_weights_per_token=None).giga_ternary_macs_per_joule is None


def test_stated_energy_needs_neither_speed_nor_power() -> None:
    stated = replace(RIVAL, tokens_per_s=None, tokens_per_s_status=None, watts=None,
                     stated_joules_per_token=(0.2, 0.5))
    assert stated.tokens_per_joule == (2.0, 5.0)
    assert stated.status == "claimed"


@pytest.mark.parametrize("weak", STATUSES)
def test_a_figure_is_as_good_as_its_weaker_part(weak: str) -> None:
    for strong in STATUSES[:STATUSES.index(weak) + 1]:
        for pair in ((strong, weak), (weak, strong)):
            rival = replace(RIVAL, tokens_per_s_status=pair[0], watts_status=pair[1])
            assert rival.status == weak


def test_energy_of_a_whole_run_is_the_sources() -> None:
    """1,182.6 J for 256 tokens, as the source read them off, and not watts times a best speed."""
    [row] = [rival for rival in FIELD if rival.name.startswith("Ryzen 5950X")]
    assert row.stated_joules_per_token is not None
    assert row.stated_joules_per_token[0] == pytest.approx(1182.6 / 256, abs=0.005)


def test_names_are_unique() -> None:
    assert len({rival.name for rival in FIELD}) == len(FIELD)


@pytest.mark.parametrize("rival", FIELD, ids=lambda rival: rival.name)
def test_each_row_names_its_source_and_limits(rival: Rival) -> None:
    assert rival.url.startswith(("https://", "http://"))
    assert rival.source
    assert rival.note
    assert rival.boundary in BOUNDARIES
    assert rival.status in STATUSES
    assert (rival.tokens_per_s is None) == (rival.tokens_per_s_status is None)
    low, high = rival.joules_per_token
    assert 0 < low <= high
    if rival.stated_joules_per_token and rival.watts and rival.tokens_per_s:
        # Two ways to the same joules; prompts and averages leave a tenth between them.
        stated = sum(rival.stated_joules_per_token) / 2
        assert rival.watts[0] / rival.tokens_per_s == pytest.approx(stated, rel=0.1)
    assert (rival.bits_per_byte is None) == (rival.quality_data is None)
    if rival.ternary_weights_per_token is not None:
        assert rival.parameters is not None
        assert rival.ternary_weights_per_token <= rival.parameters


@pytest.mark.parametrize("name", ["UCSC", "TerEffic", "TeLLMe", "ZyboGPT", "TernaryCore",
                                  "ternfpga", "Slim-Llama", "ESP32-S3", "Raspberry Pi", "RTX",
                                  "H100"])
def test_the_field_holds(name: str) -> None:
    assert any(name in rival.name for rival in FIELD)


def test_no_row_rests_on_a_boundary_of_ours() -> None:
    """Nobody else has published the power of the core rails alone."""
    assert not any(rival.boundary == "fpga_core" for rival in FIELD)


def test_entry_has_ranges() -> None:
    entry = rival_entry(RIVAL)
    assert entry["joules_per_token"] == [0.04, 0.08]
    assert entry["status"] == "claimed"


def test_a_model_that_was_never_counted_has_no_row() -> None:
    config = ModelConfig(vocab_size=20, d_model=40, n_layers=1, d_hidden=80)
    assert entry_of_release(Model.random(config, seed=3)) is None


@pytest.mark.parametrize("width", [60, 80, 120])
def test_names_stay_on_a_narrow_terminal(width: int) -> None:
    """What gives way is the last columns, which are then named."""
    said = StringIO()
    print_field([rival_entry(rival) for rival in FIELD], None,
                Console(file=said, width=width, color_system=None))
    lines = said.getvalue().splitlines()
    for rival in FIELD:
        assert any(line.startswith(rival.name.split()[0]) for line in lines), rival.name
    header = next(line for line in lines if line.startswith("system"))
    left_out = {name for name in FIELD_COLUMNS if name not in header}
    assert left_out == (set(DISPENSABLE) if width == 60 else set())
    assert all(name in said.getvalue() for name in FIELD_COLUMNS)
