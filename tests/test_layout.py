"""The shape of the repository: packaging, direction of imports, and what the documents promise."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from glob import glob
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from trilight.hw.contract.device import Device
from trilight.hw.support.boards import DEVICES

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("hw", "sw", "sim", "boards")
ALL_FOLDERS = (*FOLDERS, "trilight")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = {name: ROOT.joinpath(*name.split(".")[1:] or [name])
            for name in PROJECT["tool"]["setuptools"]["packages"]}

MAY_IMPORT = {
    "hw": ("trilight.hw",),
    "sw": ("trilight.sw", "trilight.hw.contract", "trilight.hw.support",
           "trilight.hw.control.timing", "trilight.hw.engine.timing", "trilight.hw.imported.timing",
           "trilight.hw.memory.timing", "trilight.hw.vector.timing"),
    "sim": ("trilight.sim", "trilight.sw", "trilight.hw"),
    "boards": ("trilight.boards", "trilight.hw"),
    "trilight": ("trilight.sw",),
}

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def package_files(folder: str, suffix: str = "") -> list[Path]:
    return [path for path in sorted((ROOT / folder).rglob(f"*{suffix}"))
            if path.is_file() and "__pycache__" not in path.parts]


def names(paths: Iterable[Path]) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in paths)


def imported_names(path: Path) -> Iterator[str]:
    """Dotted name of everything a file imports, relative imports resolved."""
    here = ("trilight", *path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[:len(here) - node.level + 1] if node.level else ()
            module = (*base, *([node.module] if node.module else []))
            yield from (".".join((*module, alias.name)) for alias in node.names)


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def anchors(path: Path) -> set[str]:
    """Anchors of a Markdown file's headings, by GitHub's rule."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_package_list_equals_folders() -> None:
    found = {path.parent for folder in ALL_FOLDERS for path in package_files(folder, "__init__.py")}
    assert names(PACKAGES.values()) == names(found)


def test_modules_lie_in_packages() -> None:
    stray = [path for folder in ALL_FOLDERS for path in package_files(folder, ".py")
             if path.parent not in PACKAGES.values()]
    assert names(stray) == []


def test_packages_are_typed() -> None:
    untyped = [folder for folder in PACKAGES.values() if not (folder / "py.typed").is_file()]
    assert names(untyped) == []


def test_package_data_patterns_cover_every_file() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    covered = {folder / hit
               for name, folder in PACKAGES.items()
               for pattern in (*patterns.get("*", ()), *patterns.get(name, ()))
               for hit in glob(pattern, root_dir=folder, recursive=True)}
    data = {path for folder in ALL_FOLDERS for path in package_files(folder)
            if path.suffix != ".py"}
    assert names(data - covered) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_point_one_way(folder: str) -> None:
    wrong = [f"{path.relative_to(ROOT)} imports {name}"
             for path in package_files(folder, ".py")
             for name in imported_names(path)
             if within(name, ("trilight",)) and not within(name, MAY_IMPORT[folder])]
    assert wrong == []


def test_imports_use_the_package_name() -> None:
    """``import hw`` works from the checkout, and makes a second copy of every class."""
    wrong = [f"{path.relative_to(ROOT)} imports {name}"
             for folder in (*FOLDERS, "tests")
             for path in package_files(folder, ".py")
             for name in imported_names(path)
             if within(name, FOLDERS)]
    assert wrong == []


MAY_NAME_A_BOARD = {
    "hw/support/boards.py": "states the default board, once",
    "hw/flow/ice40.py": "toolchain of the family; which coefficients are its",
    "sim/bitstream": "reads the bitstreams of that part",
    "sw/power": "coefficients and published measurements of that part",
    "sw/meters/wiring.py": "where to cut the trace of that board",
    "sim/power/command.py": "help: clocks that are computed of the default board",
    "sw/cli/plan.py": "help: boards of the table of memories",
    "sw/cli/app.py": "examples below the help",
    "sw/cli/performance.py": "help: an example of a board with weights outside its chip",
}
"""Files that may name a board, or the part of one, and why."""


def test_boards_are_named_in_their_files_alone() -> None:
    """A board is discovered, and its device passed down: see ``trilight.hw.support.boards``."""
    boards = PROJECT["project"]["entry-points"]["trilight.boards"]
    pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, boards))})\b|UP5K", re.IGNORECASE)
    wrong = [f"{place}:{number}: {line.strip()}"
             for folder in ("hw", "sw", "sim") for path in package_files(folder, ".py")
             if not (place := str(path.relative_to(ROOT))).startswith(tuple(MAY_NAME_A_BOARD))
             for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
             if pattern.search(line)]
    assert wrong == []


def test_host_loads_no_gateware() -> None:
    script = """
import importlib, pkgutil, sys
import trilight.sw
for module in pkgutil.walk_packages(trilight.sw.__path__, "trilight.sw."):
    if module.name.endswith(".__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "triton"):  # what comes with PyTorch
            raise
print(*sorted(name for name in sys.modules
              if name.split(".")[0].startswith("amaranth")
              or name.startswith(("trilight.sim", "trilight.boards"))))
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                            cwd=ROOT / "docs", check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


def entry_points() -> list[EntryPoint]:
    project = PROJECT["project"]
    groups = {"console_scripts": project.get("scripts", {}), **project.get("entry-points", {})}
    return [EntryPoint(name, value, group)
            for group, entries in groups.items() for name, value in entries.items()]


@pytest.mark.parametrize("entry", entry_points(), ids=lambda entry: f"{entry.group}:{entry.name}")
def test_entry_points_load(entry: EntryPoint) -> None:
    loaded = entry.load()
    assert isinstance(loaded, Device) if entry.group == DEVICES else callable(loaded)


def test_no_path_of_one_machine() -> None:
    absolute = re.compile(r"(?<![\w.*$}])/(?:work|root|tmp|home|Users|srv|opt)/")
    files = [path for folder in (*FOLDERS, "tests", "docs", ".ci", ".github")
             for path in package_files(folder)]
    # A worktree has a file ".git", which is no part of the repository.
    files += [path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]
    wrong = [f"{path.relative_to(ROOT)}: {line.strip()}"
             for path in files
             for line in path.read_text(encoding="utf-8", errors="ignore").splitlines()
             if absolute.search(line)]
    assert wrong == []


def test_readme_names_the_two_commands() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert "    make demo" in lines
    assert "    make test" in lines


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z%-]*):", makefile, flags=re.MULTILINE))
    # A pattern makes a target of each extra: needs-% of needs-test.
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    targets |= {target.replace("%", extra) for target in targets if "%" in target
                for extra in extras["project"]["optional-dependencies"]}
    sources = [*DOCUMENTS, ROOT / ".ci" / "run", *sorted((ROOT / ".github").rglob("*.yml"))]
    named = {target for path in sources
             for target in re.findall(r"(?:^|[`$]|run:) *make ([a-z][a-z-]*)",
                                      path.read_text(encoding="utf-8"), flags=re.MULTILINE)}
    assert {"demo", "test"} <= named
    if "\nneeds-%:" in makefile:
        targets |= {f"needs-{target}" for target in targets}
    assert named <= targets


def test_oldest_releases_are_the_lower_bounds() -> None:
    project = PROJECT["project"]
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"], *(requirement for extra in (
        "gateware", "sim", "build", "ecp5", "gowin", "plots", "baselines", "explore", "cluster",
        "tokens", "test")
        for requirement in extras[extra])]
    bounds = {match[1]: match[2] for requirement in requirements
              if (match := re.match(r"([\w-]+)>=([\d.]+)", requirement))}
    lines = (ROOT / ".ci" / "oldest.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert pins.keys() == bounds.keys()
    assert [name for name, pin in pins.items()
            if not f"{pin}.".startswith(f"{bounds[name]}.")] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_point_at_what_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    named = [ROOT / name
             for name in re.findall(r"`((?:hw|sw|sim|boards|tests|docs)/[\w./-]*)`", text)]
    missing = [str(path) for path in named if not path.exists()]
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        name, _, anchor = link.partition("#")
        path = document.parent / name if name else document
        if not path.exists() or (anchor and anchor not in anchors(path)):
            missing.append(link)
    assert missing == []


def test_index_names_every_page() -> None:
    index = ROOT / "docs" / "index.md"
    named = set(re.findall(r"\]\(([\w-]+\.md)\)", index.read_text(encoding="utf-8")))
    assert named == {page.name for page in index.parent.glob("*.md")} - {index.name}


def test_all_that_is_printed_passes_one_place() -> None:
    """Rich's own console would hand on what a stranger's file says to a terminal."""
    own = ROOT / "hw" / "support" / "terminal.py"
    wrong = [f"{path.relative_to(ROOT)} imports {name}"
             for folder in ALL_FOLDERS for path in package_files(folder, ".py") if path != own
             for name in imported_names(path)
             if name in {"rich.console.Console", "rich.print", "rich.get_console"}]
    assert wrong == []


def test_nothing_else_is_printed_but_what_is_visible() -> None:
    """Of what ``print`` gets, each part is a literal, ``visible``, JSON in ASCII or our own."""
    harmless = re.compile(r'print\((?:\)|visible\(|json\.dumps\(|udev_rules\(|flush=|file=|path, |'
                          r'f"Error: \{text\}")')
    wrong = [f"{path.relative_to(ROOT)}: {line.strip()}"
             for folder in ALL_FOLDERS for path in package_files(folder, ".py")
             for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
             if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
             and node.func.id == "print"
             for line in [path.read_text(encoding="utf-8").splitlines()[node.lineno - 1]]
             if not harmless.search(line)]
    assert wrong == []


@pytest.mark.skipif(not (ROOT / ".git").exists() or shutil.which("git") is None,
                    reason="no checkout of Git")
def test_a_checkout_on_windows_has_the_line_ends_of_unix(tmp_path: Path) -> None:
    """Whatever Git there is set to; and what is no text stays as it is."""
    git = ["git", "-C", str(ROOT), "-c", "core.autocrlf=true", "-c", "core.eol=crlf"]
    subprocess.run([*git, "checkout-index", "--all", f"--prefix={tmp_path}/"], check=True)
    listed = subprocess.run([*git, "ls-files", "--eol"], check=True, capture_output=True, text=True)
    binary = [line.rpartition("\t")[2] for line in listed.stdout.splitlines()
              if line.startswith("i/-text")]
    assert binary
    for path in sorted(path for path in tmp_path.rglob("*") if path.is_file()):
        name = path.relative_to(tmp_path)
        if str(name) in binary:
            assert path.read_bytes() == subprocess.run(
                [*git, "show", f":{name}"], check=True, capture_output=True).stdout
        else:
            assert b"\r\n" not in path.read_bytes(), name
