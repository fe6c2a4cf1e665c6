"""The kept corpus, one archive: inputs by parser and name."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

__all__ = ["ARCHIVE", "pack", "read_all", "unpack"]

ARCHIVE = Path(__file__).resolve().parent / "corpus.zip"

FIRST_DATE = (1980, 1, 1, 0, 0, 0)
"""Date of every entry, so that equal inputs make equal archives."""


def read_all(path: Path = ARCHIVE) -> dict[str, dict[str, bytes]]:
    """Return every kept input by name, by parser."""
    inputs: dict[str, dict[str, bytes]] = {}
    with zipfile.ZipFile(path) as archive:
        for entry in archive.namelist():
            parser, _, name = entry.partition("/")
            inputs.setdefault(parser, {})[name] = archive.read(entry)
    return inputs


def unpack(parser: str, folder: Path, path: Path = ARCHIVE) -> None:
    """Write the kept inputs of a parser into a folder, as a fuzzer reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in read_all(path).get(parser, {}).items():
        (folder / name).write_bytes(data)


def pack(inputs: Mapping[str, Mapping[str, bytes]], path: Path = ARCHIVE) -> None:
    """Write the archive; it depends on the inputs alone."""
    with zipfile.ZipFile(path, "w") as archive:
        for parser, kept in sorted(inputs.items()):
            for name, data in sorted(kept.items()):
                entry = zipfile.ZipInfo(f"{parser}/{name}", FIRST_DATE)
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, data, compresslevel=9)
