"""Recordings of any instrument, exported as a text table."""

import csv
import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from trilight.sw.errors import MeterError

from .base import Boundary, ClockName, Floats, Mark, Meter, MeterFacts, MeterOptions, Recording

__all__ = ["CsvMeter", "csv_meter", "read_csv"]

UNITS = {
    "time": {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6,
             "ns": 1e-9, "min": 60.0, "h": 3600.0},
    "voltage": {"v": 1.0, "mv": 1e-3, "uv": 1e-6, "µv": 1e-6, "volt": 1.0, "volts": 1.0},
    "current": {"a": 1.0, "ma": 1e-3, "ua": 1e-6, "µa": 1e-6, "na": 1e-9, "amp": 1.0,
                "amps": 1.0, "ampere": 1.0, "amperes": 1.0},
    "power": {"w": 1.0, "mw": 1e-3, "uw": 1e-6, "µw": 1e-6, "watt": 1.0, "watts": 1.0},
}

NAMES = {
    "time": ("time", "t", "timestamp", "seconds", "date", "datetime", "elapsed"),
    "voltage": ("voltage", "v", "u", "volt", "volts", "vbus"),
    "current": ("current", "i", "amp", "amps", "ampere", "amperes", "ibus"),
    "power": ("power", "p", "watt", "watts"),
}
"""Words by which a column is recognised, after its unit is taken off."""

EPOCH_FROM_S = 1e9
"""Times from here on, the year 2001, are seconds since 1970 and not since a button was pressed."""

JITTER = 1.0
"""Times may run back by this many usual intervals, as by loggers with several threads."""

FLAT_SHARE, FLAT_LEVELS = 0.2, 50
"""A recording is flat at its top if its largest value is this share of the readings of a meter
that showed this many different ones."""

SYNC: dict[ClockName, str] = {
    "host": "the host's clock", "epoch": "time of day", "own": "its own clock"}

UNKNOWN_GAIN_LIMIT = 0.02
"""Taken for an instrument whose accuracy is not given."""


@dataclass(frozen=True)
class Column:
    """A column that was chosen, and what turns its numbers into the SI unit."""

    index: int
    name: str
    scale: float


def read_csv(path: Path, options: MeterOptions) -> Recording:
    """Read a table of times and voltages and currents, or powers.

    Columns and their units are found by the names in the header, such as ``Current (mA)``; the
    settings ``time``, ``voltage``, ``current`` and ``power`` name them, as ``COLUMN``, ``UNIT`` or
    ``COLUMN[UNIT]``. A fixed voltage is given as ``volts``.

    Raises
    ------
    MeterError
        The file cannot be read, a column is missing or ambiguous, or the time runs back.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MeterError(f"the recording {path} cannot be read: {error.strerror}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    header, rows, decimal_comma = _table(text, path)
    columns = {quantity: _choose(quantity, header, options) for quantity in NAMES}
    time = columns["time"]
    if time is None:
        raise MeterError(f"{path} has no column of time among {', '.join(header)}; name it, as in "
                         f"csv:{path.name},time={header[0]}[s]")
    times = [row[time.index] if len(row) > time.index else "" for row in rows]
    t_s, epoch = _times(times, time.scale, decimal_comma)
    values = {quantity: _numbers(rows, column, decimal_comma)
              for quantity, column in columns.items() if column is not None and quantity != "time"}
    if "volts" in options.settings:
        values["voltage"] = np.full_like(t_s, options.positive("volts", 1.0))
    watts = values.get("power")
    if watts is None:
        if not {"voltage", "current"} <= set(values):
            raise MeterError(f"{path} shows {', '.join(values) or 'no quantity'} among its columns "
                             f"{', '.join(header)}, and power or both voltage and current are "
                             "needed; name a column, as in current=I[mA], or state volts=5.0")
        watts = values["voltage"] * values["current"]
    warnings = []
    good = np.isfinite(t_s) & np.isfinite(watts)
    if not good.all():
        warnings.append(f"{(~good).sum():,} of {good.size:,} lines have no number; they count as "
                        "gaps")
    order = _in_order(t_s, good, path, warnings)
    if order.size < 2:
        raise MeterError(f"{path} has {order.size} lines with a time and a power; a recording "
                         "needs two or more")
    t_s, watts = t_s[order], watts[order]
    rate = 1 / float(np.median(np.diff(t_s)))
    volts, amperes = ((values[name][order] if name in values else None)
                      for name in ("voltage", "current"))
    if _flat_top(watts):
        warnings.append("the readings are flat at their top, as of a meter at the end of its "
                        "range; state range=AMPERES to have such windows left out")
    clock = options.settings.get("clock", "epoch" if epoch else "own")
    if clock not in SYNC:
        raise MeterError(f"clock must be one of {', '.join(SYNC)}, not {clock!r}")
    stated = "gain" in options.settings or "offset" in options.settings
    middle_v = 1.0 if volts is None else float(np.median(volts))
    limit_a = options.number("offset", 0.0)
    return Recording(
        t_s=t_s, watts=watts, volts=volts, amperes=amperes, boundary=options.boundary("board"),
        clock=clock, warnings=tuple(warnings),
        facts=MeterFacts(
            type=options.settings.get("type", "csv"), serial=options.settings.get("serial"),
            rate_hz=rate, range_a=(options.positive("range", 1.0) if "range" in options.settings
                                   else None),
            gain_limit=options.number("gain", UNKNOWN_GAIN_LIMIT),
            offset_limit_w=limit_a * middle_v,
            accuracy=("as stated by the user" if stated else
                      f"assumed: {UNKNOWN_GAIN_LIMIT:.0%} of the reading; state gain= and offset= "
                      "from the instrument's data sheet"),
            sync=SYNC[clock],
            raw_sha256=hashlib.sha256(data).hexdigest()))


def _table(text: str, path: Path) -> tuple[list[str], list[list[str]], bool]:
    """Header and rows, and whether numbers are written with a decimal comma."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    # Instruments write a preamble: the header is the line before the first line of numbers.
    first = next((n for n, line in enumerate(lines) if n and _is_data(line)), None)
    if first is None:
        raise MeterError(f"{path} has no line of numbers below a header; export the recording as "
                         "CSV with a header line")
    delimiter = max(";\t,", key=lines[first - 1].count)
    header = [cell.strip() for cell in next(csv.reader([lines[first - 1]], delimiter=delimiter))]
    body = list(csv.reader(io.StringIO("\n".join(lines[first:])), delimiter=delimiter))
    comma = delimiter != "," and any("," in cell for cell in body[0])
    return header, body, comma


def _is_data(line: str) -> bool:
    cells = [cell.strip() for cell in re.split(r"[;\t]|,(?!\d+[;\t])", line)]
    return sum(bool(re.match(r"^[-+]?[\d.,]*\d", cell)) for cell in cells) >= 2


def _split(name: str) -> tuple[str, str | None]:
    """Name and unit of a header such as ``Current (mA)``, ``I[A]``, ``current_uA``, ``Power/W``."""
    match = (re.match(r"^(.*?)\s*[\[(]\s*([^\])]+?)\s*[\])]\s*$", name)
             or re.match(r"^(.+?)\s*(?:[_/,]|\bin\b)\s*([a-zA-Zµ]{1,7})$", name))
    return (match[1].strip(), match[2].strip()) if match else (name.strip(), None)


def _choose(quantity: str, header: Sequence[str], options: MeterOptions) -> Column | None:
    units = UNITS[quantity]

    def column(index: int, unit: str | None) -> Column:
        unit = unit or _split(header[index])[1]
        return Column(index, header[index], units.get((unit or "").lower(), 1.0))

    given = options.settings.get(quantity)
    unit = None
    if given is not None:
        wanted, unit = (given, None) if given in header else _split(given)
        if unit is not None and unit.lower() not in units:
            raise MeterError(f"{quantity} has no unit {unit!r}; known are {', '.join(units)}")
        if wanted in header:
            return column(header.index(wanted), unit)
        if given.lower() not in units:
            raise MeterError(f"there is no column {wanted!r}; there are {', '.join(header)}")
        unit = given
    found = [index for index, name in enumerate(header)
             if _fits(quantity, *_split(name))]
    if len(found) > 1:
        raise MeterError(f"several columns could be the {quantity}: "
                         f"{', '.join(header[index] for index in found)}; choose one, as in "
                         f"{quantity}={header[found[0]]}")
    return column(found[0], unit) if found else None


def _fits(quantity: str, name: str, unit: str | None) -> bool:
    if unit is not None and not any(unit.lower() in UNITS[q] for q in UNITS):
        name, unit = f"{name} {unit}", None  # "(relative)" is no unit
    words = re.findall(r"[a-z]+", name.lower())
    known = any(word in NAMES[quantity] for word in words)
    return known if unit is None else known and unit.lower() in UNITS[quantity]


def _number(cell: str, decimal_comma: bool) -> float:
    try:
        return float(cell.replace(",", ".") if decimal_comma else cell)
    except ValueError:
        return float("nan")


def _numbers(rows: Sequence[Sequence[str]], column: Column, decimal_comma: bool) -> Floats:
    return column.scale * np.array([_number(row[column.index], decimal_comma)
                                    if len(row) > column.index else np.nan for row in rows])


def _times(cells: Sequence[str], scale: float, decimal_comma: bool) -> tuple[Floats, bool]:
    """Seconds, and whether they count from 1970."""
    numbers = np.array([_number(cell, decimal_comma) for cell in cells])
    if not np.isfinite(numbers).any():
        def parse(cell: str) -> float:
            try:
                return datetime.fromisoformat(cell.strip()).timestamp()
            except ValueError:
                return float("nan")

        return np.array([parse(cell) for cell in cells]), True
    seconds = numbers * scale
    return seconds, bool(np.nanmedian(seconds) > EPOCH_FROM_S)


def _in_order(t_s: Floats, good: np.ndarray, path: Path, warnings: list[str]) -> np.ndarray:
    """Indices of the good lines in the order of time, without repetitions."""
    lines = np.flatnonzero(good)
    if lines.size < 2:
        return lines
    steps = np.diff(t_s[lines])
    forward = steps[steps > 0]
    if not forward.size:
        raise MeterError(f"the time in {path} never advances")
    back = np.flatnonzero(steps < -JITTER * float(np.median(forward)))
    if back.size:
        line = lines[back[0] + 1]
        raise MeterError(
            f"the time in {path} runs back in data line {line + 1:,}, from {t_s[lines[back[0]]]:g} "
            f"to {t_s[line]:g} s; did the instrument start anew? Cut the file there")
    order = lines[np.argsort(t_s[lines], kind="stable")]
    fresh = np.concatenate(([True], np.diff(t_s[order]) > 0))
    if (repeated := int((~fresh).sum())) or (steps < 0).any():
        warnings.append(f"{repeated:,} lines repeat a time and {int((steps < 0).sum()):,} are out "
                        "of order; they were left out or put in order")
    return order[fresh]


def _flat_top(watts: Floats) -> bool:
    levels = np.unique(watts).size
    return levels > FLAT_LEVELS and float(np.mean(watts == watts.max())) > FLAT_SHARE


class CsvMeter:
    """An instrument with a program of its own, whose recording is exported to a file.

    Parameters
    ----------
    options
        Path as argument, and the settings of ``read_csv``; further ``gain`` (limit of the error, a
        fraction), ``offset`` (limit, in amperes), ``range`` (largest current, in amperes), ``type``
        and ``serial`` of the instrument, ``clock`` (``own``, ``epoch`` or ``host``).
    """

    def __init__(self, options: MeterOptions) -> None:
        options.only("time", "voltage", "current", "power", "volts", "gain", "offset", "range",
                     "type", "serial", "clock")
        if not options.argument:
            raise MeterError("csv needs a file, as in csv:recording.csv")
        self.name = options.spec
        self.boundary: Boundary = options.boundary("board")
        self.path = Path(options.argument)
        self._options = options
        self._before: float | None = None
        self._marks: list[Mark] = []

    def start(self) -> None:
        self._before = _modified(self.path)
        self._marks = []
        self._options.ask("Start the recording of your instrument, then press Enter. ")

    def mark(self, label: str) -> None:
        self._marks.append(Mark(label, self._options.clock.now()))

    def stop(self) -> Recording:
        self._options.ask(f"Stop the recording and export it to {self.path}, then press Enter; or "
                          "press Enter at once and give the file later. ")
        modified = _modified(self.path)
        if modified is None or modified == self._before:
            raise MeterError(f"there is no new recording {self.path} yet")
        return self.read()

    def read(self) -> Recording:
        """The recording, of whatever age."""
        return replace(read_csv(self.path, self._options), marks=tuple(self._marks))


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def csv_meter(options: MeterOptions) -> Meter:
    """Meter ``csv:FILE``."""
    return CsvMeter(options)
