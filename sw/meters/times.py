"""Times of readings: seconds, dates, times of day and seconds since 1970 in any unit."""

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from trilight.sw.errors import MeterError

from .base import ClockName, Floats

__all__ = ["Zone", "parse_zone", "seconds", "texts"]

Zone = tzinfo | Literal["local"]
"""Time zone of times that state none; ``local`` is this computer's, with its summer time."""

EPOCH_S = (1e9, 2.6e9)
"""Seconds since 1970 from 2001 to 2052. Numbers in between, or in this range after a unit that is
not stated is taken off, are times of day."""

EPOCH_UNITS = {1.0: "s", 1e-3: "ms", 1e-6: "us", 1e-9: "ns"}

LONGEST_STEP_S = 5.0
"""Whole numbers without a unit that advance by more are hardly seconds."""

EXCEL_DAYS = (25_000.0, 80_000.0)
"""Days since 1900, as a spreadsheet keeps dates, from 1968 to 2119."""

DAYS = (EXCEL_DAYS, (719_529.0, 767_000.0), (2_440_587.0, 2_470_000.0))
"""Days since 1900, since the year 0 as MATLAB counts them (``datenum``), and Julian dates, the last
two from 1970 to 2050 or later."""

UNLIKELY_S = (1.4e9, 2.2e9)
"""Numbers of today's seconds since 1970; as milliseconds they would be weeks of running."""

_TIME = re.compile(
    r"(?:(?P<a>\d{1,4})(?P<sep>[-/.])(?P<b>\d{1,2})(?P=sep)(?P<c>\d{1,4})(?:[T\s,]+|$))?"
    r"(?:(?P<h>\d{1,3}):(?P<m>\d{2})(?::(?P<s>\d{2})(?:[.,](?P<f>\d{1,12})|:(?P<ms>\d{3}))?)?"
    r"\s*(?P<half>[AaPp]\.?[Mm]\.?)?)?"
    r"\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}:?(?:\d{2})?)?", re.ASCII)


def parse_zone(text: str) -> Zone:
    """A zone from ``UTC``, ``+02:00``, ``Europe/Berlin`` or ``local``.

    Raises
    ------
    MeterError
        There is none of that name.
    """
    if text.upper() in ("UTC", "GMT", "Z"):
        return UTC
    if text == "local":
        return "local"
    with suppress(ValueError):
        if zone := datetime.fromisoformat(f"2000-01-01T00:00:00{text}").tzinfo:
            return zone
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise MeterError(f"there is no time zone {text!r}; write UTC, local, +02:00 or a name such "
                         "as Europe/Berlin") from error


def seconds(numbers: Floats, scale: float | None, name: str, *, dated: bool = False,
            stated: bool = True) -> tuple[Floats, ClockName, str | None]:
    """Seconds, their clock, and a remark, from numbers.

    Parameters
    ----------
    numbers
        Numbers of the file.
    scale
        Factor of their unit; ``None`` if it is not given.
    name
        Name of the column, for messages.
    dated
        True if that is the name of a date.
    stated
        True if a setting says the unit; else a header does.

    Raises
    ------
    MeterError
        The unit is not given and cannot be told, or the stated one cannot be right.
    """
    middle = float(np.nanmedian(numbers))
    if scale == 86400 and EXCEL_DAYS[0] <= middle <= EXCEL_DAYS[1]:
        return numbers * scale, "own", None  # of a spreadsheet, which knows no zone
    if scale is not None:
        if middle * scale > EPOCH_S[1]:
            raise MeterError(f"{middle:.6g} in column {name!r} cannot be {_unit(scale)} since 1970 "
                             f"or since a start; state the unit, as in time={name}[ms]")
        if not stated and scale < 1 and UNLIKELY_S[0] <= middle <= UNLIKELY_S[1]:
            days = middle * scale / 86400
            raise MeterError(f"{middle:.10g} in column {name!r} may be seconds since 1970, or "
                             f"{_unit(scale)} of a clock that runs for {days:.3g} days; state the "
                             f"unit, as in time={name}[s]")
        return numbers * scale, "epoch" if middle * scale >= EPOCH_S[0] else "own", None
    for factor, unit in EPOCH_UNITS.items():
        if EPOCH_S[0] <= middle * factor <= EPOCH_S[1]:
            remark = None if unit == "s" else f"times are {unit} since 1970, by their size"
            return numbers * factor, "epoch", remark
    steps = np.diff(numbers[np.isfinite(numbers)])
    step = float(np.median(steps)) if steps.size else 0.0
    whole = bool((numbers[np.isfinite(numbers)] % 1 == 0).all())
    days = any(least <= middle <= most for least, most in DAYS) and 0 < step < 1e-3
    if (middle > EPOCH_S[0] or days or dated or (whole and step > LONGEST_STEP_S)
            or _is_clock(numbers[np.isfinite(numbers)])):
        raise MeterError(
            f"the unit of the column {name!r} is not given and cannot be told from numbers such as "
            f"{middle:.10g}; state it, as in time={name}[ms] (s, ms, us, ns, min, h or d)")
    return numbers, "own", f"the unit of {name} is not given; taken as seconds"


def _is_clock(numbers: Floats) -> bool:
    """Tell if numbers are hours, minutes and seconds in one, as 123456.5: there are no 60 to 99."""
    return bool(numbers.size and (numbers >= 0).all() and (numbers % 100 < 60).all()
                and (numbers // 100 % 100 < 60).all() and np.ptp(numbers // 100) > 0)


def _unit(scale: float) -> str:
    return EPOCH_UNITS.get(scale, f"units of {scale:g} s")


def texts(cells: Sequence[str], name: str, *, zone: Zone | None, order: str | None
          ) -> tuple[Floats, ClockName, str | None] | None:
    """Seconds, their clock and a remark, from dates and times of day; ``None`` if there is none.

    Parameters
    ----------
    cells
        Cells of the column, or date and time joined by a space.
    name
        Name of the column, for messages.
    zone
        Zone of times that state none. Without it, they are placed by the steps that they show.
    order
        ``ymd``, ``dmy`` or ``mdy``, for dates such as 03/04/2026.

    Raises
    ------
    MeterError
        The order of a date cannot be told, or the form changes.
    """
    found = [_TIME.fullmatch(cell.strip()) for cell in cells]
    good = [match for match in found if match and (match["h"] or match["a"])]
    if not good:
        return None
    if not any(match["h"] for match in good):
        raise MeterError(f"the column {name!r} has dates without a time of day; name that of the "
                         "times, as in time=COLUMN")
    if len({(bool(match["a"]), bool(match["zone"])) for match in good}) > 1:
        raise MeterError(f"the times in column {name!r} change their form, from "
                         f"{good[0][0]!r} on; export them in one")
    if not all(match["s"] for match in good):
        raise MeterError(f"the times in column {name!r}, such as {good[0][0]!r}, may be hours and "
                         "minutes or minutes and seconds; export them with seconds")
    order = order or _order([match for match in good if match["a"]], name)
    values = np.full(len(cells), np.nan)
    for n, match in enumerate(found):
        if match and match["h"]:
            values[n] = _moment(match, order, zone, name)
    if not good[0]["a"]:
        return values, "own", None
    if good[0]["zone"] or zone is not None:
        return values, "epoch", None
    return values, "own", ("the times have no time zone, so they are placed by their steps alone; "
                           "state zone=UTC, local, +02:00 or Europe/Berlin")


def _order(dates: Sequence[re.Match[str]], name: str) -> str:
    if not dates or all(len(match["a"]) == 4 for match in dates):
        return "ymd"
    if all(match["sep"] == "." for match in dates):
        return "dmy"
    if any(int(match["a"]) > 12 for match in dates):
        if all(len(match["c"]) < 3 and int(match["c"]) < 32 for match in dates):
            raise MeterError(f"{dates[0][0]!r} in column {name!r} may begin with the year or with "
                             "the day; state date=ymd or date=dmy")
        return "dmy"
    if any(int(match["b"]) > 12 for match in dates):
        return "mdy"
    if all(match["a"] == match["b"] for match in dates):
        return "dmy"
    raise MeterError(f"{dates[0][0]!r} in column {name!r} may begin with the day or with the "
                     "month; state date=dmy or date=mdy")


def _moment(match: re.Match[str], order: str, zone: Zone | None, name: str) -> float:
    """Seconds since 1970, or since midnight for a time without a date."""
    hour = int(match["h"])
    if match["half"]:
        if not 1 <= hour <= 12:
            raise MeterError(f"{match[0]!r} in column {name!r} is no time of day")
        hour = hour % 12 + (12 if match["half"][0] in "pP" else 0)
    fraction = float(f"0.{match['f'] or match['ms'] or 0}")
    minute, second = int(match["m"]), int(match["s"])
    if not match["a"]:
        return 3600 * hour + 60 * minute + second + fraction
    parts = dict(zip(order, (int(match[key]) for key in "abc"), strict=True))
    year = parts["y"] + (2000 if parts["y"] < 100 else 0)
    own = parse_zone(match["zone"]) if match["zone"] else zone or UTC
    try:
        moment = datetime(year, parts["m"], parts["d"], hour, minute, second,
                          tzinfo=None if isinstance(own, str) else own)
        return moment.timestamp() + fraction
    except (ValueError, OverflowError) as error:
        raise MeterError(f"{match[0]!r} in column {name!r} is no date in the order {order}: "
                         f"{error}; state date=ymd, dmy or mdy") from error
