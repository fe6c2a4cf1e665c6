"""Structure of inputs: mutations that keep it, so that more than the tokeniser is reached."""

import json
import random
import struct
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

__all__ = ["join_header", "mutate_json", "mutate_value", "piece", "pieces", "split_header"]

_LENGTH = struct.Struct("<Q")

ODD = (None, True, False, 0, 1, -1, 0.5, 1e308, -1e-308, float("nan"), float("inf"), 10**400,
       2**31, 2**63, -2**63, "", "x", "1", "\ud7ff", [], {}, [[]], [None], {"": {}})
"""Values of every kind that JSON has, and the ends of their ranges."""


def pieces(data: bytes) -> Iterator[tuple[int, bytes]]:
    """A kind, and bytes of a length that the byte after it says, again and again."""
    position = 0
    while position + 2 <= len(data):
        kind, length = data[position], data[position + 1]
        yield kind, data[position + 2:position + 2 + length]
        position += 2 + length


def piece(kind: int, data: bytes) -> bytes:
    """A piece of at most 255 bytes."""
    return bytes((kind, len(data))) + data


def split_header(data: bytes) -> tuple[dict[str, Any], bytes] | None:
    """Header of a safetensors file and what follows it; ``None`` if it has none."""
    try:
        (length,) = _LENGTH.unpack_from(data)
        header = json.loads(data[_LENGTH.size:_LENGTH.size + length])
    except (struct.error, ValueError, RecursionError, OverflowError):
        return None
    return (header, data[_LENGTH.size + length:]) if isinstance(header, dict) else None


def join_header(header: object, rest: bytes) -> bytes | None:
    """Undo ``split_header``; ``None`` if the header is nothing that JSON in UTF-8 can hold."""
    try:
        text = json.dumps(header).encode()
    except ValueError:
        return None
    return _LENGTH.pack(len(text)) + text + rest


def mutate_json(data: bytes, seed: int) -> bytes | None:
    """Change one place of a JSON text, or ``None`` if it is none."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return json.dumps(mutate_value(value, random.Random(seed))).encode()


def mutate_value(value: Any, rng: random.Random) -> Any:
    """Change one place of what JSON or TOML can hold."""
    places = list(_places(value))
    if not places:
        return rng.choice(ODD)
    container, key = rng.choice(places)
    other, other_key = rng.choice(places)
    match rng.randrange(5):
        case 0 if isinstance(container[key], int | float) and abs(container[key]) < 1e300:
            container[key] *= rng.choice((-1, 2, 0.5, 1000))
        case 1:
            del container[key]
        case 2:
            container[key] = deepcopy(other[other_key])
        case 3 if isinstance(container, list):
            container.insert(key, rng.choice(ODD))
        case 3:
            container[rng.choice(("", "x", str(other_key)))] = rng.choice(ODD)
        case _:
            container[key] = rng.choice(ODD)
    return value


def _places(value: Any) -> Any:
    """Every container and key below a value."""
    stack = [value]
    while stack:
        container = stack.pop()
        keys = (container if isinstance(container, dict)
                else range(len(container)) if isinstance(container, list) else ())
        for key in keys:
            yield container, key
            stack.append(container[key])
