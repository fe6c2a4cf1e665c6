"""The gateware with other constants or with a fault, beside the real one.

A proof over every state is feasible where the state is small, and worth nothing unless it could
fail. Both take a block that differs in a few places from the real one.
"""

import importlib
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from types import ModuleType

from trilight.hw.contract.device import Device
from trilight.hw.support.boards import board_device
from trilight.hw.support.cache import cached, digest
from trilight.sw.errors import SimulationError

__all__ = ["REAL", "Edit", "Gateware"]


@dataclass(frozen=True)
class Edit:
    """Another text in place of one that occurs once in a file of ``hw/``."""

    file: str
    """File, such as ``"engine/rows.py"``."""
    old: str
    new: str

    def apply(self, text: str) -> str:
        """The file with the other text.

        Raises
        ------
        SimulationError
            The text is not there, or not once.
        """
        if (found := text.count(self.old)) != 1:
            raise SimulationError(f"hw/{self.file} must have {self.old!r} once, not {found} times; "
                                  "follow the gateware in the proof that edits it")
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Gateware:
    """The package ``trilight.hw``, or an edited copy of it."""

    edits: Sequence[Edit] = ()
    device: Device = field(default_factory=board_device)
    """Sizes that its blocks are made for; of the default board unless given."""

    def module(self, name: str) -> ModuleType:
        """Module of the package, such as ``"engine.rows"``.

        Raises
        ------
        SimulationError
            An edit does not fit the gateware.
        """
        return importlib.import_module(f"{self._package()}.{name}")

    def _package(self) -> str:
        if not self.edits:
            return "trilight.hw"
        source = Path(str(resources.files("trilight.hw")))
        files = {str(path.relative_to(source)): path.read_text()
                 for path in sorted(source.rglob("*.py"))}
        for edit in self.edits:
            if edit.file not in files:
                raise SimulationError(f"there is no hw/{edit.file} to edit")
            files[edit.file] = edit.apply(files[edit.file])
        name = "edited_" + digest(*(text for pair in files.items() for text in pair))[:16]

        def make(work: Path) -> None:
            for file, text in files.items():
                path = work / name / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text.replace("trilight.hw", name))

        folder = str(cached("edited", digest(name), make))
        if name not in sys.modules:
            sys.path.insert(0, folder)
            try:
                importlib.invalidate_caches()
                importlib.import_module(name)
            finally:
                sys.path.remove(folder)
                shutil.rmtree(Path(folder) / name / "__pycache__", ignore_errors=True)
        return name


REAL = Gateware()
