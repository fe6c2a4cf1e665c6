"""Text of an instrument's export: header, lines and numbers.

Nothing is assumed of the delimiter, the decimal sign, the preamble or the encoding but what all
lines of the file agree on.
"""

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trilight.sw.errors import MeterError

from .base import Floats
from .units import QUANTITIES, Quantity, read_header, unit_scale

__all__ = ["Table", "cells_have_units", "numbers", "read_table"]

DELIMITERS = (";", "\t", ",", "|", " ")

SAMPLE_LINES = 400
"""Lines by which the delimiter is recognised."""

MISSING = frozenset({"", "-", "--", "---", "nan", "na", "n/a", "#n/a", "none", "null", "inf",
                     "+inf", "-inf", "infinity", "?", "missing"})
"""Cells of readings that there are not."""

OVERLOADS = frozenset({"ol", "+ol", "-ol", "o.l", "o.l.", "ovld", "ovl", "ovr", "over", "overload",
                       "overflow", "overrange"})

_END_OF_HEADER = "***End_of_Header***"
"""Ends each of the two parts of a header in a LabVIEW measurement file."""

OVERFLOW = 9.8e37
"""Numbers from which on SCPI instruments mean none, or more than their range (IEEE 488.2, SCPI-99
volume 1, 7.2.1.4 and 7.2.1.5: 9.9e37 and 9.91e37)."""

_SPACES = " \u00a0\u2009\u202f'\u2019"
"""What stands between groups of three digits, beside point and comma."""

_FIRST = "0123456789+-.,"

_NUMBER = re.compile(r"[-+]?(?:\d+(?:[.,]\d*)*|[.,]\d+)(?:[eE][-+]?\d+)?", re.ASCII)
_GROUPED = re.compile(r"[-+]?(?:\d+|[1-9]\d{0,2}\.\d{3})", re.ASCII)
_PLAIN = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)
_DATE = re.compile(r"(?:\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|\d{1,3}:\d{2})[-T:/.,+\sAPMUTCGZapm\d]*",
                   re.ASCII)


@dataclass(frozen=True)
class Table:
    """Columns of a file."""

    path: Path
    header: tuple[str, ...]
    units: tuple[str | None, ...]
    """Cells of the line below the header, if there is one with units."""
    rows: Sequence[Sequence[str]]
    first_line: int
    """Number of the first line of data in the file."""
    delimiter: str
    above: tuple[str, ...]
    """Cells of all lines above the header."""

    def cells(self, index: int) -> list[str]:
        """One column; what a short line lacks is empty."""
        return [row[index].strip() if index < len(row) else "" for row in self.rows]


def read_table(path: Path, data: bytes, *, timeless: bool = False) -> Table:
    """Find header and lines of numbers.

    Parameters
    ----------
    path
        For messages.
    data
        The file.
    timeless
        True if a line may have one number alone, as without a column of time.

    Raises
    ------
    MeterError
        No lines of numbers, no header above them, or lines of unequal length.
    """
    lines = _decode(path, data).splitlines()
    delimiter = _delimiter(lines)
    cells = list(_split(lines, delimiter, path))
    marks = [n for n, line in enumerate(lines) if line.startswith(_END_OF_HEADER)]
    if len(marks) > 2:
        raise MeterError(f"line {marks[2] + 1} of {path} begins another recording; cut the file "
                         "above its header")
    fewest, first = next(((least, n) for least in ((2, 1) if timeless else (2,))
                          for n in range(marks[-1] + 1 if marks else 0, len(cells))
                          if _begins(cells, n, least)), (0, 0))
    if not fewest:
        raise MeterError(f"{path} has no line of numbers below a header; export the recording as "
                         "CSV with a header line")
    rows = [(n, row) for n, row in enumerate(cells) if n >= first and any(row)]
    width = max(len(row) for _, row in rows[:SAMPLE_LINES] if _is_data(row, fewest))
    above = [_uncomment(line, delimiter, path) for line in lines[:first] if line.strip(" \t#;%/")]
    last = above[-1] if above else []
    header = tuple(last)
    units: tuple[str | None, ...] = ()
    if len(above) > 1 and len(above[-2]) >= width and _are_units(last):
        header, units = tuple(above[-2]), tuple(cell or None for cell in last)
    elif len(last) <= 1 < width:
        # Nothing but remarks: the columns have numbers only.
        header = tuple(f"column {k + 1}" for k in range(width))
    elif len(last) < width:
        raise MeterError(f"line {first + 1} of {path} has {width} columns and the header "
                         f"{len(last)}; is the decimal sign the delimiter too?")
    units = (*units, *(None,) * len(header))[:len(header)]
    long = next(((n, row) for n, row in rows if len(row) > len(header)), None)
    if long is not None:
        raise MeterError(f"line {long[0] + 1} of {path} has {len(long[1])} columns and the header "
                         f"{len(header)}; is the decimal sign the delimiter too?")
    strange = next((n for n, row in rows if _is_another_header(row, last)), None)
    if strange is not None:
        raise MeterError(f"line {strange + 1} of {path} is a header, and another one than above; "
                         "cut the file there")
    body = [row for _, row in rows if not row[0].lstrip().startswith(("#", "%", "//"))]
    return Table(path, header, units, body, first + 1, delimiter,
                 tuple(cell for row in above for cell in row if row is not last))


def _decode(path: Path, data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError as error:
            raise MeterError(f"{path} begins as UTF-16 and is none: {error.reason}; export it as "
                             "UTF-8") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Only a header may have other letters: a mu of another set is no unit, and refused.
        return data.decode("cp1252", errors="replace")


def _delimiter(lines: Sequence[str]) -> str:
    """The one by which most lines are data; of several, that with most of the cells numbers."""
    start = next((n for n, line in enumerate(lines) if re.match(r"[\s\"]*[-+]?[\d.]", line)), 0)
    sample = [line for line in lines[start:start + SAMPLE_LINES] if line.strip()]

    def score(delimiter: str) -> tuple[int, float]:
        rows = list(_split(sample, delimiter))
        good = [_is_number(cell) for row in rows for cell in row]
        return sum(_is_data(row, 2) for row in rows), sum(good) / max(1, len(good))

    return max(DELIMITERS, key=score)


def _split(lines: Iterable[str], delimiter: str, path: Path | None = None) -> Iterable[list[str]]:
    """Cells of each line; a line that cannot be read is one cell."""
    for line in lines:
        if delimiter == " ":
            yield line.split()
            continue
        try:
            row = [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
        except csv.Error as error:
            if path is None:
                yield [line]
                continue
            raise MeterError(f"{path} is no table: {error}") from error
        # A delimiter at the end of the lines, as of Rigol's, makes no column.
        while row and not row[-1]:
            row.pop()
        yield row


def _uncomment(line: str, delimiter: str, path: Path) -> list[str]:
    """Cells of a line above the data, whose comment sign is taken off."""
    sign = r"^ *(?:[#%]+|//) *" if delimiter == ";" else r"^ *(?:[#%;]+|//) *"
    return next(iter(_split([re.sub(sign, "", line)], delimiter, path)))


def _is_data(row: Sequence[str], fewest: int) -> bool:
    """Tell if a line is of data: a time or number first or second, and enough of them."""
    good = [_is_number(cell) for cell in row]
    return sum(good) >= fewest and any(good[:2])


def _is_another_header(row: Sequence[str], header: Sequence[str]) -> bool:
    """Tell if a line among the data names quantities otherwise than the header does."""
    if any(cell[:1] in _FIRST for cell in row if cell):
        return False
    names = [row[0].lstrip("#%/ "), *row[1:]]
    return names != list(header) and sum(
        any(read_header(quantity, name) for quantity in QUANTITIES) for name in names) > 1


def _is_number(cell: str) -> bool:
    """Tell if a cell is a number, with a unit or without, or a time."""
    return _cell(cell)[0] is not None or bool(_DATE.fullmatch(cell))


def _begins(cells: Sequence[Sequence[str]], n: int, fewest: int) -> bool:
    """Tell if the data begin at line ``n``: a header with numbers has no data right after it."""
    after = [row for row in cells[n + 1:n + 4] if any(row)][:2]
    return all(_is_data(row, fewest) for row in (cells[n], *after))


def _are_units(row: Sequence[str]) -> bool:
    """Tell if a line is of units: no name of a quantity, and more than half units of one."""
    cells = [re.sub(r"[\[\](){}]", "", cell) for cell in row if cell]
    found = [column for cell in cells for quantity in QUANTITIES
             if (column := read_header(quantity, cell)) is not None]
    known = sum(any(unit_scale(quantity, cell) is not None for quantity in QUANTITIES)
                for cell in cells)
    return 2 * known > len(cells) and not any(column.named for column in found)


def cells_have_units(table: Table, index: int) -> bool:
    """Tell if the first number of a column has a unit, which goes before that of the header."""
    return next((bool(unit) for number, unit in map(_cell, table.cells(index)) if number), False)


def numbers(table: Table, index: int, quantity: Quantity, scale: float, decimal: str | None,
            *, units: int | None = None) -> tuple[Floats, str | None]:
    """Values of a column in the SI unit, ``nan`` where there is none, and a remark.

    Parameters
    ----------
    table, index
        The column.
    quantity, scale
        Quantity of the column, and factor of its unit, before which a unit in a cell goes.
    decimal
        Decimal sign, ``.`` or ``,``; by default that of all cells of the column, or of the others.
    units
        Column with the unit of each cell, if there is one.

    Raises
    ------
    MeterError
        The decimal sign cannot be told, or a cell has a unit that is not known.
    """
    cells = table.cells(index)
    if units is not None:
        cells = [f"{cell} {unit}" if cell else "" for cell, unit in
                 zip(cells, table.cells(units), strict=True)]
    if decimal != "," and set("".join(cells)) <= set("0123456789+-.eE"):
        try:
            if decimal is None and "." in "".join(cells) and all(
                    map(_GROUPED.fullmatch, filter(None, cells))):
                raise ValueError
            values = np.array([float(cell) if cell else np.nan for cell in cells])
        except ValueError:
            pass
        else:
            return _overflow(table, index, values, scale)
    parsed = [_cell(cell) for cell in cells]
    sign = decimal or _decimal_sign(table, index, [number for number, _ in parsed if number])
    values = np.full(len(cells), np.nan)
    strange: tuple[int, str] | None = None
    overload = False
    for n, ((number, unit), cell) in enumerate(zip(parsed, cells, strict=True)):
        if number is None:
            overload |= cell.lower() in OVERLOADS
            if strange is None and cell.lower() not in MISSING:
                strange = n, cell
            continue
        factor = scale
        if unit:
            found = unit_scale(quantity, unit)
            if found is None:
                raise MeterError(
                    f"{cell!r} in line {table.first_line + n} of {table.path} has no unit of "
                    f"{quantity} that is known; export the numbers without it")
            factor = found
        value = _value(number, sign)
        if value is None:
            raise MeterError(
                f"{cell!r} in line {table.first_line + n} of {table.path} is no number with a "
                f"decimal {'comma' if sign == ',' else 'point'}, as the others of the column "
                f"{table.header[index]!r} are; state decimal=comma or decimal=point")
        values[n] = factor * value
    remark = None
    if overload:
        remark = f"some cells of {table.header[index]} say that the range was exceeded"
    elif strange is not None:
        remark = f"{strange[1]!r} in line {table.first_line + strange[0]} is no number"
    values, high = _overflow(table, index, values, 1.0)
    return values, remark or high


def _overflow(table: Table, index: int, values: Floats, scale: float
              ) -> tuple[Floats, str | None]:
    with np.errstate(invalid="ignore"):
        high = np.abs(values) > OVERFLOW
    remark = (f"some cells of {table.header[index]} say that the range was exceeded"
              if high.any() else None)
    return scale * np.where(high | ~np.isfinite(values), np.nan, values), remark


def _cell(cell: str) -> tuple[str | None, str]:
    """Number and unit of a cell; spaces and apostrophes between groups of three digits go."""
    text = cell.strip().replace("\u2212", "-")
    group = re.match(rf"[-+]?\d{{1,3}}(?:[{_SPACES}]\d{{3}})+(?![\d])", text, re.ASCII)
    if group:
        text = re.sub(rf"[{_SPACES}]", "", group[0]) + text[group.end():]
    found = _NUMBER.match(text)
    if not found:
        return None, ""
    rest = text[found.end():].strip()
    if rest and not re.fullmatch(r"[^\W\d_]+\.?(?:\s+[AaDd][Cc])?", rest):
        return None, ""
    return found[0], rest


def _decimal_sign(table: Table, index: int, cells: Sequence[str]) -> str:
    """Decimal sign of a column, from all its cells together, or else from the other columns."""
    found: dict[str | None, str] = {}
    for cell in cells:
        found.setdefault(_sign(cell), cell)
        if "." in found and "," in found:
            raise MeterError(f"the column {table.header[index]!r} of {table.path} has "
                             f"{found[',']!r} and {found['.']!r}; state decimal=comma or "
                             "decimal=point if one of them groups thousands, or cut the file where "
                             "the form changes")
    for mark in ".,":
        if mark in found:
            return mark
    unsure = [cell for cell in cells if "." in cell or "," in cell]
    if not unsure:
        return "."
    others = {sign for other in range(len(table.header)) if other != index
              for cell in table.cells(other) if (sign := _sign(_cell(cell)[0] or "")) is not None}
    if len(others) == 1:
        return others.pop()
    # Where commas part the columns, they are no decimal signs.
    if not others and table.delimiter == "," and "," not in unsure[0]:
        return "."
    raise MeterError(f"{unsure[0]!r} in column {table.header[index]!r} of {table.path} may be a "
                     "thousand or a fraction; state decimal=comma or decimal=point")


def _sign(number: str) -> str | None:
    """Decimal sign that a number shows; ``None`` for one such as 85,000 or 85."""
    mantissa = re.sub(r"[eE].*", "", number.lstrip("+-"))
    last = max(mantissa.rfind(","), mantissa.rfind("."))
    if last < 0:
        return None
    sign, other = mantissa[last], "." if mantissa[last] == "," else ","
    if mantissa.count(sign) > 1:
        return other if re.fullmatch(rf"\d{{1,3}}(?:\{sign}\d{{3}})+", mantissa) else None
    if other not in mantissa and re.fullmatch(r"[1-9]\d{0,2}[.,]\d{3}", mantissa):
        return None
    return sign


def _value(number: str, decimal: str) -> float | None:
    """A number with a decimal sign; the other one may group thousands."""
    other = "," if decimal == "." else "."
    if other in number:
        if not re.match(rf"[-+]?\d{{1,3}}(?:{re.escape(other)}\d{{3}})+(?!\d)", number, re.ASCII):
            return None
        number = number.replace(other, "")
    number = number.replace(decimal, ".")
    return float(number) if _PLAIN.fullmatch(number) else None
