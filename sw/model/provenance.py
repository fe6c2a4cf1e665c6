"""Provenance of a model by the names of today."""

from collections.abc import Mapping
from typing import Any

__all__ = ["RENAMED", "current_names"]

RENAMED = {
    "block_characters": "window_characters",
    "float_nats_per_char_blocks": "float_nats_per_char_windows",
    "quality_blocks": "quality_windows",
}
"""Keys of earlier versions, and what they are called now."""

_PROTOCOLS = {"blocks": "windows", "streamed": "stateful"}


def current_names(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the provenance that a file holds, keys and protocols of earlier versions renamed.

    No figure changes. Teachers are models, whose provenance is renamed as well.
    """
    renamed: dict[str, Any] = {}
    for key, value in provenance.items():
        if isinstance(value, Mapping):
            value = current_names(value)
        elif key == "protocol" and isinstance(value, str):
            value = _PROTOCOLS.get(value, value)
        elif key == "teachers" and isinstance(value, list):
            value = [current_names(each) if isinstance(each, Mapping) else each for each in value]
        renamed[RENAMED.get(key, key)] = value
    return renamed
