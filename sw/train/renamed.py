"""Settings of a training by the names that they had before."""

__all__ = ["RENAMED", "RENAMED_OPTIONS"]

RENAMED = {
    "made_up": "synthetic",
    "made_up_streams": "synthetic_batch",
    "lessons": "soft_targets",
    "restarts": "state_reset",
    "zero_below": "ternary_threshold",
    "average": "ema",
}
"""Keys of recipes, and what they are called now."""

RENAMED_OPTIONS = {f"--{old}".replace("_", "-"): f"--{new}".replace("_", "-")
                   for old, new in RENAMED.items()}
"""Options of ``trilight train``; recorded commands of earlier releases have them."""
