"""Quantity and unit of a column, read from the words of its header.

Instruments write ``Current (mA)``, ``I[A]``, ``current_uA``, ``Power/W``, ``C1 in V`` or
``Supply milliamps``. A unit that is written but not known is no unit at all: the reader refuses
such a column rather than taking its numbers as SI.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["QUANTITIES", "SI", "Column", "Quantity", "read_header", "unit_scale"]

Quantity = Literal["time", "voltage", "current", "power"]
QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)

SI: dict[Quantity, str] = {"time": "s", "voltage": "V", "current": "A", "power": "W"}

_BASES: dict[Quantity, frozenset[str]] = {
    "time": frozenset({"s", "sec", "secs", "second", "seconds"}),
    "voltage": frozenset({"v", "volt", "volts"}),
    "current": frozenset({"a", "amp", "amps", "ampere", "amperes"}),
    "power": frozenset({"w", "watt", "watts"}),
}
"""Units without a prefix; a symbol or a word may follow a prefix of the same sort."""

_LONG_TIMES = {**dict.fromkeys(("min", "mins", "minute", "minutes"), 60.0),
               **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
               **dict.fromkeys(("d", "day", "days"), 86400.0),
               "millis": 1e-3, "micros": 1e-6}  # as Arduino's functions are called

_PREFIXES = {"p": 1e-12, "n": 1e-9, "u": 1e-6, "U": 1e-6, "\u03bc": 1e-6, "m": 1e-3, "k": 1e3,
             "K": 1e3}
"""A capital M is left out: it is mega, or milli in a header all in capitals."""

_WORD_PREFIXES = {"pico": 1e-12, "nano": 1e-9, "micro": 1e-6, "milli": 1e-3, "kilo": 1e3}

_NAMES: dict[Quantity, frozenset[str]] = {
    "time": frozenset({"time", "t", "timestamp", "ts", "date", "datetime", "elapsed", "uptime",
                       "epoch", "unix", "unixtime"}),
    "voltage": frozenset({"voltage", "u", "vbus", "vin", "vout", "vdd", "vcc", "vcore"}),
    "current": frozenset({"current", "i", "curr", "ibus", "iin", "iout", "idd", "icc"}),
    "power": frozenset({"power", "p", "pwr"}),
}
"""Words by which a column is recognised beside its unit."""

_OTHERS = frozenset({
    "min", "max", "minimum", "maximum", "peak", "pk", "pp", "std", "stdev", "stddev", "sigma",
    "var", "rms", "limit", "set", "setpoint", "setting", "range", "offset", "error", "accuracy",
    "shunt", "drop", "factor", "reactive", "apparent", "charge", "energy", "capacity", "temp",
    "temperature", "ah", "mah", "uah", "wh", "mwh", "kwh", "ws", "raw", "lsb", "lsbs", "count",
    "counts", "adc", "code", "codes", "ticks", "percent", "unit", "units", "vset", "iset",
    "pset", "vlim", "ilim", "ocp", "ovp", "delta", "di", "dv", "dp", "\u03b4i", "\u03b4v",
    "\u03b4p", "per", "log", "ln", "cumulative", "accumulated", "integrated", "integral",
    "derivative", "slope", "squared", "ratio", "normalized", "normalised", "ripple", "noise",
    "threshold", "target", "nominal", "rated", "expected", "predicted"})
"""Words of a column that is something else, although it may have the name or unit of a quantity:
limits and extremes, a shunt's voltage, charge and energy, numbers of a converter, units, and what
is computed of a quantity."""

_HOURS = frozenset({"h", "hr", "hrs", "hour", "hours"})

_NO_UNITS = frozenset({"relative", "rel", "elapsed", "absolute", "abs", "-", "--"})
"""Words in brackets that do not stand for a unit."""

_PARTS = frozenset({"tenth", "tenths", "hundredth", "hundredths", "thousandth", "thousandths",
                    "millionth", "millionths", "billionth", "billionths", "thousand", "thousands",
                    "hundred", "hundreds", "million", "millions"})
_POWER_OF_TEN = re.compile(r"[x\u00d7*\u00b7]\s*1(?:0|e)|\b10+\s*[x\u00d7*\u00b7^]|"
                           r"(?<![^\W_])1e[-+]?\d", re.IGNORECASE)
"""Words and numbers that multiply a unit in a way that is not read."""

_MULTIPLIED = re.compile(r"(?:^|[\s_/:=-])(?:\d+[.,]?\d*|(?:\d+[.,]\d+|10+)\s+)([^\W\d_]+)\s*$")
"""A number before a unit, as in ``Current_0.1mA``; ``CH 1 V`` is a channel."""

_GLUED = re.compile(r"(\S*?)([^\W\d_]+)$")
_CHANNEL = re.compile(r"(?:[\w./:|=-]*[\w/:|=-])?")
"""What may stand right before a unit that ends a word."""

_PEAK_TO_PEAK = re.compile(r"(?<![^\W_])(?:p2p|pk2pk|pk-pk|p-p)(?![^\W_])", re.IGNORECASE)

_AVERAGED = re.compile(r"_?(?<![^\W_])(?:avg|ave|average|mean)(?![^\W_])_?", re.IGNORECASE)

_BRACKETS = r"[\[({<]([^\])}>]*)[\])}>]"

_ZONES = frozenset({"utc", "gmt", "z", "zulu"})


@dataclass(frozen=True)
class Column:
    """Reading of a column's header, for one quantity."""

    named: bool
    """True if it has the quantity's name; else only its unit."""
    scale: float | None
    """Factor from its numbers to the SI unit; ``None`` if the unit is not known or not given."""
    unknown: str | None = None
    """A unit that is written and not known."""
    utc: bool = False
    """True if times of day are said to be UTC."""


def unit_scale(quantity: Quantity, text: str) -> float | None:
    """Factor from the unit ``text`` to the SI unit; ``None`` for none that is known.

    Both letters for micro are, Greek mu and the micro sign, and the square signs of East Asian
    sets such as U+3382.
    """
    text = unicodedata.normalize("NFKC", text).strip().rstrip(".")
    words = [word for word in re.split(r"[\s_-]+", text)
             if word.lower() not in ("dc", "avg", "average", "mean", "")]
    unit = "".join(words)
    if unit.lower() == "adc":
        return None
    if len(unit) > 2 and unit.lower().endswith("dc"):
        unit = unit[:-2]
    bases = _BASES[quantity]
    if unit.lower() in bases:
        return 1.0
    if quantity == "time" and unit.lower() in _LONG_TIMES:
        return _LONG_TIMES[unit.lower()]
    if unit[:1] in _PREFIXES and unit[1:].lower() in bases:
        return _PREFIXES[unit[0]]
    for word, factor in _WORD_PREFIXES.items():
        if unit.lower().startswith(word) and unit[len(word):].lower() in bases:
            return factor
    return None


def read_header(quantity: Quantity, header: str, unit: str | None = None) -> Column | None:
    """Read the header of a column as one of ``quantity``; ``None`` if it is of something else.

    Parameters
    ----------
    quantity
        Quantity that is looked for.
    header
        Header of the file.
    unit
        Text of a second line below the header, if there is one.
    """
    header = unicodedata.normalize("NFKC", header).strip()
    brackets = [inner.strip() for inner in re.findall(_BRACKETS, header)]
    outside = _AVERAGED.sub(" ", re.sub(_BRACKETS, " ", header))
    words = _words(outside)
    lower = [word.lower() for word in words]
    inner = [word.lower() for text in brackets for word in _words(text)]
    if _OTHERS.intersection(lower) or _OTHERS.intersection(inner) - {"min"}:
        return None
    if quantity != "time" and ("min" in inner or _HOURS.intersection([*lower, *inner])):
        return None  # an extreme; or charge or energy, as mA h and mW*h are
    written = [text for text in (*brackets, *re.findall(r"/\s*([^\s/]+)\s*$", outside),
                                 re.sub(r"[\[\](){}<>]", "", unit or ""))
               if text.strip() and text.lower() not in (*_NO_UNITS, *_ZONES, *_NAMES["time"])]
    named = bool(_NAMES[quantity].intersection(lower))
    rivals = any(_NAMES[other].intersection(lower) for other in QUANTITIES if other != quantity)
    # A letter alone may be the name of a channel.
    spelt = [word for word in words if len(word) > 1 or named or outside.strip() == word
             or re.search(rf"(?:_|\bin\s+){word}$", outside)]
    units = {scale for text in (*written, *spelt) if (scale := unit_scale(quantity, text))}
    of_others = any(unit_scale(other, text) for other in QUANTITIES if other != quantity
                    for text in (*written, *(word for word in spelt if len(word) > 1)))
    if not units and (of_others or rivals or not named):
        return None
    if not named and rivals and not written:
        return None
    utc = bool(_ZONES.intersection([*lower, *inner]))
    if (units and _PARTS.intersection(lower)) or _POWER_OF_TEN.search(outside):
        return Column(named, None, outside.strip(), utc)
    if units and (odd := _odd_unit(quantity, outside, written)):
        return Column(named, None, odd, utc)
    if len(units) > 1:
        return Column(named, None, " and ".join(dict.fromkeys([*written, *spelt])), utc)
    if units:
        return Column(named, units.pop(), utc=utc)
    strange = written + [
        word for word in words
        if word.lower() in _WORD_PREFIXES
        or (word[:1] == "M" and word[1:].lower() in _BASES[quantity])
        or (word in _PREFIXES and word.lower() not in _NAMES[quantity])
        or (quantity != "time" and re.fullmatch("[^A-Z][AVW]", word))]
    return Column(named, None, strange[0] if strange else None, utc)


def _odd_unit(quantity: Quantity, outside: str, written: Sequence[str]) -> str | None:
    """What stands beside a known unit and makes it another one."""
    if odd := next((text for text in written if text in _PREFIXES or text in _WORD_PREFIXES), None):
        return odd
    if any(unit_scale(quantity, text) is not None for text in written):
        return None
    multiplied = _MULTIPLIED.search(outside)
    if multiplied and unit_scale(quantity, multiplied[1]) is not None:
        return multiplied[0].strip()
    return next((word for word in outside.split()
                 if (glued := _GLUED.fullmatch(word)) and unit_scale(quantity, glued[2]) is not None
                 and not _CHANNEL.fullmatch(glued[1])), None)


def _words(text: str) -> list[str]:
    """Words of a header: at spaces, punctuation, digits and capitals, ``milli amps`` as one."""
    text = _PEAK_TO_PEAK.sub("pp", text)
    text = re.sub(r"(?<=[a-z])(?=[A-Z][a-z]{2})", " ", text)
    words = re.findall(r"[^\W\d_]+", text)
    joined: list[str] = []
    for word in words:
        if joined and joined[-1].lower() in _WORD_PREFIXES:
            joined[-1] += word
        else:
            joined.append(word)
    return joined
