"""Account of a day's use: energy, money and carbon that follow from a way to run a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trilight.sw.model.model import Model
from trilight.sw.power.estimate import Interval

from .assumptions import Assumption, value_of

__all__ = ["DAY_S", "Way", "compare", "cost", "sci", "training"]

DAY_S = 86_400.0
_KWH = 3.6e6
_MILLION = 1e6


@dataclass(frozen=True, kw_only=True)
class Way:
    """A place where a model runs, over a day of queries.

    Energies in joules; intervals where the energy is modelled with one.
    """

    name: str
    boundary: str
    provenance: str
    source: str
    tokens_per_query: float
    first_token_s: float | None
    """Seconds from the end of the prompt's transfer to the first token."""
    prefill_s: float | None
    decode_s: float | None
    busy_s: float
    """Seconds of a day in which it works."""
    busy_joules: Interval
    idle_joules: Interval | None
    """Joules of the rest of the day; ``None`` if nothing is known of it."""
    start_joules: float
    """Joules of configuring and loading, a day."""
    bits_per_byte: float | None
    latency_s: Mapping[str, float] | None
    """Seconds of a query from its prompt to its last token: ``p50``, ``p90``, ``p95``, ``p99``."""
    details: Mapping[str, float]
    """Further figures, by name."""

    @property
    def day_joules(self) -> Interval:
        """Energy of a day, idle time included where it is known."""
        idle = self.idle_joules or Interval(0.0, 0.0, 0.0)
        return Interval(*(getattr(self.busy_joules, name) + getattr(idle, name)
                          + self.start_joules for name in ("p05", "p50", "p95")))


def compare(ours: Way, other: Way, assumptions: Mapping[str, Assumption]) -> dict[str, Any]:
    """Return what a day and all days save with ``ours`` in place of ``other``, ready for JSON."""
    saved = other.day_joules.p50 - ours.day_joules.p50
    days = assumptions["days"].value
    kwh = saved * days / _KWH
    return {
        "joules_per_day": saved, "kwh": kwh, "days": days,
        "ratio": other.day_joules.p50 / ours.day_joules.p50,
        "co2e_kg": kwh * assumptions["grid_g_per_kwh"].value / 1e3,
        "money": kwh * assumptions["price_per_kwh"].value,
        "same_boundary": ours.boundary == other.boundary,
    }


def _embodied_share(total: float | None, way: Way, assumptions: Mapping[str, Assumption]
                    ) -> float | None:
    """What of something that lasts a lifetime falls on a million tokens."""
    if total is None:
        return None
    days = assumptions["lifetime_years"].value * 365
    return total / days / _tokens_per_day(way, assumptions) * _MILLION


def _tokens_per_day(way: Way, assumptions: Mapping[str, Assumption]) -> float:
    return assumptions["queries_per_day"].value * way.tokens_per_query


def sci(way: Way, assumptions: Mapping[str, Assumption], embodied: str) -> dict[str, Any]:
    """Return the software carbon intensity (ISO/IEC 21031) of a way, per million tokens.

    Persona: the consumer, who runs a model that is there. ``embodied`` names the assumption of the
    hardware's own carbon, which is shared out over its lifetime by time.
    """
    grid = assumptions["grid_g_per_kwh"].value
    operational = (way.day_joules.p50 / _KWH * grid / _tokens_per_day(way, assumptions)
                   * _MILLION)
    kg = value_of(assumptions, embodied)
    share = _embodied_share(None if kg is None else kg * 1e3, way, assumptions)
    return {"persona": "consumer", "unit": "gCO2e per million tokens",
            "operational": operational, "embodied": share,
            "total": None if share is None else operational + share,
            "reason": None if share is not None else
            f"no maker states what making it emits; give --set {embodied}=KG"}


def cost(way: Way, assumptions: Mapping[str, Assumption], price: str) -> dict[str, Any]:
    """Return what a million tokens cost in hundredths of the currency: electricity, and hardware.

    ``price`` names the assumption of the hardware's price, which is shared out over its lifetime
    by time.
    """
    electricity = (100 * way.day_joules.p50 / _KWH * assumptions["price_per_kwh"].value
                   / _tokens_per_day(way, assumptions) * _MILLION)
    paid = value_of(assumptions, price)
    share = _embodied_share(None if paid is None else 100 * paid, way, assumptions)
    return {"unit": "cents per million tokens", "electricity": electricity, "hardware": share,
            "total": None if share is None else electricity + share,
            "reason": None if share is not None else
            f"prices change; give what was paid with --set {price}=PRICE"}


def training(model: Model, ours: Way, other: Way, assumptions: Mapping[str, Assumption]
             ) -> dict[str, Any] | None:
    """Return the energy of training, teachers included, and after how many tokens use has saved it.

    Each training counts with the watts that were read while it ran, if its file has them, else with
    those assumed. The carbon per parameter and per training token is that of the provider, the
    other persona of the SCI for AI. ``None`` for a model whose file does not say how long it was
    trained.
    """
    trainings = _trainings(model.provenance)
    if trainings is None:
        return None
    assumed = assumptions["training_watts"].value
    watts = [_read_watts(each) for each in trainings]
    seconds = [each["training_seconds"] for each in trainings]
    joules = sum(time * (assumed if read is None else read)
                 for time, read in zip(seconds, watts, strict=True))
    saved = (other.day_joules.p50 - ours.day_joules.p50) / _tokens_per_day(ours, assumptions)
    grams = joules / _KWH * assumptions["grid_g_per_kwh"].value
    characters = [number for each in trainings
                  if isinstance(number := each.get("characters_seen"), int | float)]
    known = len(characters) == len(trainings) and sum(characters) > 0
    return {"seconds": sum(seconds), "joules": joules, "kwh": joules / _KWH,
            "co2e_kg": grams / 1e3,
            "provenance": ("stated seconds x assumed watts" if None in watts
                           else "stated by the model file, as read from a counter"),
            "sci": {"persona": "provider", "gco2e_per_parameter":
                    grams / model.config.ternary_weights,
                    "gco2e_per_training_token": grams / sum(characters) if known else None},
            "break_even_tokens": joules / saved if saved > 0 else None}


def _trainings(provenance: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """A model's training and those of its teachers; ``None`` if its own time is not known."""
    if not isinstance(provenance.get("training_seconds"), int | float):
        return None
    teachers = provenance.get("teachers")
    return [provenance, *(each for teacher in (teachers if isinstance(teachers, list) else [])
                          if isinstance(teacher, Mapping) for each in _trainings(teacher) or ())]


def _read_watts(provenance: Mapping[str, Any]) -> float | None:
    """Mean power that a training's file says was read from a counter."""
    energy = provenance.get("training_energy")
    if not isinstance(energy, Mapping):
        return None
    joules, seconds = energy.get("joules"), energy.get("seconds")
    if not (isinstance(joules, int | float) and isinstance(seconds, int | float) and seconds > 0):
        return None
    return joules / seconds
