"""Recordings of any instrument, exported as a text table.

What a file does not say is not guessed: a unit that is written and not known, a number that may be
a thousand or a fraction and a date that may begin with day or month are refused, with the setting
that says it. A column without any unit is taken as SI, with a note.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilight.sw.errors import MeterError

from .base import (
    PLAUSIBLE_W,
    Boundary,
    ClockName,
    Floats,
    Mark,
    Meter,
    MeterMetadata,
    MeterOptions,
    Recording,
)
from .table import Table, cells_have_units, numbers, read_table
from .times import parse_zone, seconds, texts
from .units import QUANTITIES, SI, Quantity, read_header, unit_scale

__all__ = ["CsvMeter", "csv_meter", "read_csv"]

SETTINGS = ("time", "voltage", "current", "power", "volts", "zone", "date", "decimal", "period",
            "gain", "offset", "range", "type", "serial", "clock")

MAX_REPEATED = 0.1
"""Share of the lines that may repeat a time before the column is too coarse to be one."""

MAX_DISAGREEMENT = 1.25
"""Ratio of a column of power to voltage times current, either way, from which one is refused."""

JITTER = 1.0
"""Times may run back by this many usual intervals, as by loggers with several threads."""

FLAT_SHARE, FLAT_LEVELS = 0.2, 50
"""A recording is flat at its top if its largest value is this share of the readings of a meter
that showed this many different ones."""

PARTS_OF_A_SECOND = {"fractional seconds": 1.0, "fraction": 1.0, "millisecond": 1e-3,
                     "milliseconds": 1e-3, "msec": 1e-3, "microsecond": 1e-6, "microseconds": 1e-6}
"""Columns beside a date and a time of day, by name, and their unit: as Keithley's and Yokogawa's
instruments write them."""

DATE = r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}"

SOURCES = frozenset({"index", "gpu", "uuid", "name", "channel", "ch", "device", "sensor",
                     "entity_id", "id", "node", "port", "rail", "domain", "supply", "source",
                     "meter", "instrument", "socket", "package", "phase", "host", "slot", "probe",
                     "quantity", "measurement", "parameter", "variable"})
"""Names of columns that say which of several things a line is about."""

SYNC: dict[ClockName, str] = {
    "host": "the host's clock", "epoch": "time of day", "own": "its own clock"}

DECIMALS = {"point": ".", "comma": ","}

UNKNOWN_GAIN_LIMIT = 0.02
"""Taken for an instrument whose accuracy is not given."""


@dataclass(frozen=True)
class Chosen:
    """A column that was chosen."""

    index: int
    name: str
    scale: float | None
    """Factor from its numbers to the SI unit; ``None`` if no unit is given."""
    utc: bool = False
    second: int | None = None
    """Column of the times of day beside that of the dates."""
    stated: bool = False
    """True if a setting gives the unit."""


def read_csv(path: Path, options: MeterOptions) -> Recording:
    """Read a table of times and voltages and currents, or powers.

    Columns and their units are found by the names in the header, such as ``Current (mA)``; the
    settings ``time``, ``voltage``, ``current`` and ``power`` name them, as ``COLUMN``, ``UNIT`` or
    ``COLUMN[UNIT]``, a column by its name or number; a date beside a time is ``time=DATE+TIME``. A
    fixed voltage is given as ``volts``, the seconds between lines without a time as ``period``.
    ``decimal`` (``point`` or ``comma``), ``date`` (``ymd``, ``dmy`` or ``mdy``) and ``zone`` say
    what the file leaves open.

    Raises
    ------
    MeterError
        The file cannot be read, a column is missing or ambiguous, its unit is not known, or the
        time runs back.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MeterError(f"the recording {path} cannot be read: {error.strerror}") from error
    table = read_table(path, data, timeless="period" in options.settings)
    _refuse_several_sources(table)
    warnings: list[str] = []
    t_s, clock = _times(table, options, warnings)
    watts, volts, amperes = _readings(table, options, warnings)
    good = np.isfinite(t_s) & np.isfinite(watts)
    if not good.all():
        warnings.append(f"{(~good).sum():,} of {good.size:,} lines have no number; they count as "
                        "gaps")
    used = good.nonzero()[0]
    t_s, watts, *others = _in_order(
        t_s[used], [None if values is None else values[used]
                    for values in (watts, volts, amperes)], used + table.first_line, path, warnings)
    if t_s.size < 2:
        raise MeterError(f"{path} has {t_s.size} lines with a time and a power; a recording "
                         "needs two or more")
    volts, amperes = others
    rate = 1 / float(np.median(np.diff(t_s)))
    if float(np.median(watts)) < 0:
        warnings.append("the power is negative; is the shunt or the meter the wrong way round?")
    if _flat_top(watts):
        warnings.append("the readings are flat at their top, as of a meter at the end of its "
                        "range; state range=AMPERES to have such windows left out")
    stated_clock = options.settings.get("clock", clock)
    if stated_clock not in SYNC:
        raise MeterError(f"clock must be one of {', '.join(SYNC)}, not {stated_clock!r}")
    clock = stated_clock
    stated = "gain" in options.settings or "offset" in options.settings
    known = None if volts is None else volts[np.isfinite(volts)]
    middle_v = 1.0 if known is None or not known.size else float(np.median(known))
    limit_a = options.number("offset", 0.0)
    return Recording(
        t_s=t_s, watts=watts, volts=volts, amperes=amperes, boundary=options.boundary("board"),
        clock=clock, warnings=tuple(warnings),
        metadata=MeterMetadata(
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


def _refuse_several_sources(table: Table) -> None:
    """Refuse a table whose lines are of several things in turn, as of ``nvidia-smi``."""
    for index, name in enumerate(table.header):
        if name.strip().lower() in SOURCES:
            found = list(dict.fromkeys(table.cells(index)))
            if 1 < len(found) <= len(table.rows) / 2:
                raise MeterError(f"the lines of {table.path} are of {len(found)} different "
                                 f"{name.strip()}: {', '.join(found[:3])}; keep those of one")


def _times(table: Table, options: MeterOptions, warnings: list[str]) -> tuple[Floats, ClockName]:
    """Times in seconds, and on which clock."""
    if "period" in options.settings:
        return np.arange(float(len(table.rows))) * options.positive("period", 1.0), "own"
    column = _choose("time", table, options)
    if column is None:
        raise MeterError(
            f"{table.path} has no column of time among {_names(table)}; name it, as in "
            f"csv:{table.path.name},time={table.header[0]}[s], or state the seconds between two "
            "lines, as in period=0.001")
    cells = table.cells(column.index)
    if column.second is not None:
        cells = [f"{date} {time}" for date, time in zip(cells, table.cells(column.second),
                                                        strict=True)]
    order = options.settings.get("date")
    if order is not None and sorted(order) != ["d", "m", "y"]:
        raise MeterError(f"date must be ymd, dmy or mdy, not {order!r}")
    zone = options.settings.get("zone", "UTC" if column.utc else None)
    found = texts(cells, column.name, zone=None if zone is None else parse_zone(zone), order=order)
    if found is not None:
        found = (found[0] + _parts_of_a_second(table, cells, options), *found[1:])
    else:
        values, remark = numbers(table, column.index, "time", 1.0, _decimal(options))
        if remark:
            warnings.append(remark)
        if not np.isfinite(values).any():
            raise MeterError(f"the times in column {column.name!r} of {table.path}, such as "
                             f"{cells[0]!r}, are not understood; export seconds, or date and time "
                             "as 2026-03-01T12:00:00.5+00:00")
        scale = 1.0 if cells_have_units(table, column.index) else column.scale
        if scale is None:
            _heed_units_above(table, "time", column)
        found = seconds(values, scale, column.name, stated=column.stated,
                        dated="date" in column.name.lower())
    t_s, clock, remark = found
    if remark:
        warnings.append(remark)
    return t_s, clock


def _parts_of_a_second(table: Table, cells: Sequence[str], options: MeterOptions
                       ) -> Floats | float:
    """What a column of its own adds to times that have whole seconds alone."""
    found = [(index, PARTS_OF_A_SECOND[name.strip().lower()])
             for index, name in enumerate(table.header)
             if name.strip().lower() in PARTS_OF_A_SECOND]
    if not found or any(re.search(r":\d\d(?:[.,]\d|:\d{3})", cell) for cell in cells):
        return 0.0
    if len(found) > 1:
        raise MeterError(f"several columns of {table.path} have parts of a second: "
                         f"{', '.join(table.header[index] for index, _ in found)}; state the "
                         "seconds between two lines, as in period=0.001, or cut all but one")
    index, scale = found[0]
    values, _ = numbers(table, index, "time", scale, _decimal(options))
    if not (np.isfinite(values).all() and (values >= 0).all() and (values < 1).all()):
        raise MeterError(f"the column {table.header[index]!r} of {table.path} has no parts of a "
                         "second, 0 to 1 s, beside its times; state the seconds between two lines, "
                         "as in period=0.001")
    return values


def _readings(table: Table, options: MeterOptions, warnings: list[str]
              ) -> tuple[Floats, Floats | None, Floats | None]:
    """Watts, and volts and amperes if there are such."""
    values: dict[Quantity, Floats] = {}
    assumed: list[str] = []
    for quantity in QUANTITIES[1:]:
        if quantity == "voltage" and "volts" in options.settings:
            values[quantity] = np.full(len(table.rows), options.positive("volts", 1.0))
            continue
        column = _choose(quantity, table, options)
        if column is None:
            continue
        units = None if column.scale is not None else _units_beside(table, quantity, column.index)
        values[quantity], remark = numbers(table, column.index, quantity, column.scale or 1.0,
                                           _decimal(options), units=units)
        if remark:
            warnings.append(remark)
        if column.scale is None and units is None and not cells_have_units(table, column.index):
            _heed_units_above(table, quantity, column)
            assumed.append(f"{column.name} as {SI[quantity]}")
    volts, amperes, watts = (values.get(quantity) for quantity in QUANTITIES[1:])
    product = None if volts is None or amperes is None else volts * amperes
    if watts is None:
        watts = product
    elif product is not None:
        _compare(table, watts, product)
    if watts is None:
        raise MeterError(f"{table.path} shows {', '.join(values) or 'no quantity'} among its "
                         f"columns {_names(table)}, and power or both voltage and current are "
                         "needed; name a column, as in current=I[mA], or state volts=5.0")
    if assumed:
        limit = PLAUSIBLE_W[options.boundary("board")][1]
        middle = float(np.nanmedian(watts)) if np.isfinite(watts).any() else 0.0
        text = f"no unit is given; taken {', '.join(assumed)}"
        if abs(middle) > limit:
            raise MeterError(f"{table.path}: {text}, which makes {middle:.4g} W; state the units, "
                             "as in current=I[mA]")
        warnings.append(text)
    return watts, volts, amperes


def _units_beside(table: Table, quantity: Quantity, index: int) -> int | None:
    """Column with the units of another one's cells, as multimeters that choose their range have."""
    named = [n for n, name in enumerate(table.header) if re.search(r"(?i)\bunits?\b", name)]
    for beside in [index + 1] if index + 1 in named or len(named) != 1 else named:
        cells = [] if beside >= len(table.header) else [c for c in table.cells(beside) if c]
        if cells and (beside in named or all(unit_scale(quantity, cell) for cell in cells)):
            return beside
    return None


def _heed_units_above(table: Table, quantity: Quantity, column: Chosen) -> None:
    """Refuse a column without a unit in a file that names one above its header."""
    unit = next((cell for cell in table.above if unit_scale(quantity, cell) not in (None, 1.0)),
                None)
    if unit is not None:
        raise MeterError(f"the column {column.name!r} of {table.path} has no unit, and the lines "
                         f"above the header have {unit!r}; state it, as in "
                         f"{quantity}={column.name}[{unit}]")


def _compare(table: Table, watts: Floats, product: Floats) -> None:
    """Refuse a column of power that voltage and current contradict."""
    good = np.isfinite(watts) & np.isfinite(product)
    if not good.any():
        return
    shown, computed = float(np.median(watts[good])), float(np.median(product[good]))
    if shown * computed <= 0:
        return
    ratio = shown / computed
    if not 1 / MAX_DISAGREEMENT <= ratio <= MAX_DISAGREEMENT:
        raise MeterError(f"the power in {table.path} is {ratio:.4g} times voltage times current, "
                         "so that a unit or a column is another; name them, as in power=P[mW]")


def _decimal(options: MeterOptions) -> str | None:
    given = options.settings.get("decimal")
    if given is None:
        return None
    if given not in DECIMALS:
        raise MeterError(f"decimal must be point or comma, not {given!r}")
    return DECIMALS[given]


def _names(table: Table) -> str:
    return ", ".join(table.header)


def _choose(quantity: Quantity, table: Table, options: MeterOptions) -> Chosen | None:
    """The column of a quantity: as it is stated, else the only one that the header names."""
    given = options.settings.get(quantity)
    unit: float | None = None
    if given is not None:
        name, scale = given, None
        if _find(table, name) is None and (match := re.fullmatch(r"(.*?)\s*\[([^\[\]]*)\]", given)):
            name = match[1]
            scale = unit_scale(quantity, match[2])
            if scale is None:
                raise MeterError(f"{quantity} has no unit {match[2]!r} that is known; write one "
                                 f"such as {SI[quantity]}, m{SI[quantity]} or u{SI[quantity]}")
        index = _find(table, name)
        if index is None and quantity == "time" and "+" in name:
            date, _, time = (part.strip() for part in name.partition("+"))
            if (first := _find(table, date)) is not None and (last := _find(table, time)
                                                              ) is not None:
                return Chosen(first, name, None, second=last)
        if index is not None:
            return _chosen(quantity, table, index, scale)
        unit = unit_scale(quantity, given)
        if unit is None:
            raise MeterError(f"there is no column {name!r}; there are {_names(table)}")
    found = [(index, column) for index, (name, below) in enumerate(
                 zip(table.header, table.units, strict=True))
             if (column := read_header(quantity, name, below)) is not None]
    # A name says more than a unit, which a second voltage or a counter may have too.
    found = [pair for pair in found if pair[1].named] or found
    names = [table.header[index] for index, _ in found]
    if quantity == "time" and len(found) == 2 and unit is None:
        one, other = (index for index, _ in found)
        for days, hours in ((one, other), (other, one)):
            if _has(table, days, DATE) and _has(table, hours, r"\d{1,2}:\d{2}.*"):
                return Chosen(days, f"{table.header[days]}+{table.header[hours]}", None,
                              utc=any(column.utc for _, column in found), second=hours)
    if len(found) > 1:
        raise MeterError(f"several columns could be the {quantity}: {', '.join(names)}; choose "
                         f"one, as in {quantity}={names[0]}")
    if not found:
        return None
    return _chosen(quantity, table, found[0][0], unit)


def _find(table: Table, name: str) -> int | None:
    """Index of the column with a name, or with a number if none has the name."""
    names = [unicodedata.normalize("NFKC", header) for header in table.header]
    name = unicodedata.normalize("NFKC", name)
    if name in names:
        if names.count(name) > 1:
            raise MeterError(f"{names.count(name)} columns of {table.path} are called {name!r}; "
                             f"choose one by its number, as in {names.index(name) + 1}")
        return names.index(name)
    if name.isdecimal() and 1 <= int(name) <= len(names):
        return int(name) - 1
    return None


def _chosen(quantity: Quantity, table: Table, index: int, scale: float | None) -> Chosen:
    """A column with the unit that a setting gives, else that of its header."""
    name = table.header[index]
    column = read_header(quantity, name, table.units[index])
    stated = scale is not None
    if scale is None and column is not None:
        if column.unknown is not None and not (quantity == "time" and _has(table, index, ".*:.*")):
            raise MeterError(f"{column.unknown!r} in the header {name!r} of {table.path} is no "
                             f"unit of {quantity} that is known; state it, as in "
                             f"{quantity}={name}[m{SI[quantity]}]")
        scale = column.scale
    return Chosen(index, name, scale, utc=column is not None and column.utc, stated=stated)


def _has(table: Table, index: int, pattern: str) -> bool:
    """Tell if one of a column's first cells is of a form."""
    return any(re.fullmatch(pattern, cell) for cell in table.cells(index)[:10])


def _in_order(t_s: Floats, values: Sequence[Floats | None], lines: NDArray[np.int64], path: Path,
              warnings: list[str]) -> list[Any]:
    """Times and values in the order of time; those of one time become their mean."""
    if t_s.size < 2:
        return [t_s, *values]
    steps = np.diff(t_s)
    forward = steps[steps > 0]
    if not forward.size:
        raise MeterError(f"the time in {path} never advances; state the seconds between two lines, "
                         "as in period=0.001")
    back = np.flatnonzero(steps < -JITTER * float(np.median(forward)))
    if back.size:
        raise MeterError(
            f"the time in {path} runs back in line {lines[back[0] + 1]:,}, from "
            f"{t_s[back[0]]:.10g} to {t_s[back[0] + 1]:.10g} s; did the instrument restart? Cut "
            "the file there"
        )
    order = np.argsort(t_s, kind="stable")
    starts = np.flatnonzero(np.concatenate(([True], np.diff(t_s[order]) > 0)))
    repeated, swapped = t_s.size - starts.size, int((steps < 0).sum())
    if repeated > MAX_REPEATED * t_s.size:
        raise MeterError(f"{repeated:,} of {t_s.size:,} lines of {path} repeat a time, which is "
                         "too coarse for them; export it with more digits, or state the seconds "
                         "between two lines, as in period=0.001")
    if repeated or swapped:
        warnings.append(f"{repeated:,} lines repeat a time and {swapped:,} are out of order; they "
                        "were averaged or put in order")
    counts = np.diff([*starts, t_s.size])
    return [t_s[order][starts], *(
        None if column is None else np.add.reduceat(column[order], starts) / counts
        for column in values)]


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
        options.only(*SETTINGS)
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
