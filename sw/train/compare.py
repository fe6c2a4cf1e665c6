"""Models of several kinds side by side. Needs PyTorch."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from trilight.hw.support.boards import DEFAULT_BOARD, board_device
from trilight.sw.model.model import Model
from trilight.sw.model.zeros import zero_shares
from trilight.sw.power import BOUNDARY, Activity, estimate_power
from trilight.sw.power.operations import WorkEnergy, energy_of_work
from trilight.sw.quality.evaluate import PROTOCOLS, evaluate
from trilight.sw.report.performance import predict
from trilight.sw.report.releases import load_releases

from .corpus import Corpus
from .float_file import FORMAT, FloatModel
from .loss import stateful_loss, windows_loss
from .options import Options
from .renamed import RENAMED_OPTIONS
from .work import WEIGHT_BITS, work_per_character

__all__ = ["compare", "quantised", "seed_groups"]

_INT8_MAX = 127
_MATRIX_DIMENSIONS = 2
_SEED = "--seed"
_NOT_THE_METHOD = (_SEED, "--out", "--recipe")
"""Options that runs of one method differ in; what a recipe sets is spelt out besides."""


def quantised(model: FloatModel) -> FloatModel:
    """Return a network whose matrix products have inputs and weights of 8 bits.

    Each row of a matrix has a scale of its own, and so has each input vector; the rest stays as it
    is.
    """
    network = copy.deepcopy(model.network)
    network.int8_inputs = True
    with torch.no_grad():
        for value in network.parameters():
            if value.ndim == _MATRIX_DIMENSIONS:
                step = value.abs().amax(1, keepdim=True).clamp(min=1e-12) / _INT8_MAX
                value.copy_((value / step).round() * step)
    return FloatModel(model.kind, network, model.vocab, model.provenance)


def compare(paths: Sequence[Path], text: Corpus, *,
            progress: Callable[[str], None] = lambda name: None) -> list[dict[str, Any]]:
    """Measure models, and return a row for each; two for a network in floating point.

    Parameters
    ----------
    paths
        Files of ``trilight train``. A network in floating point is measured as it is and in 8
        bits.
    text
        Its held-out part is predicted.
    progress
        Called with the name of each file before it is measured.

    Returns
    -------
    list of dict
        Ready for JSON: bytes, multiplications and additions per character, modelled energy with
        the ratio to that of the first row, nats per character by protocol, and how the model was
        trained.

    Raises
    ------
    ModelFileError
        A file is no model.
    """
    # The products are small: threads would wait for each other longer than they work.
    torch.set_num_threads(1)
    measured: list[tuple[dict[str, Any], WorkEnergy]] = []
    for path in paths:
        progress(path.name)
        measured += _ternary(path, text) if _is_ternary(path) else _float(path, text)
    rows = []
    for row, energy in measured:
        ratio = asdict(energy.ratio(measured[0][1]))
        rows.append({**row, "energy_per_char": energy.to_dict(), "energy_ratio_to_first": ratio})
    return rows


def seed_groups(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and spread of models whose commands differ in the seed only.

    Returns
    -------
    list of dict
        For each method with several seeds: ``command`` without seed and file, ``files``, and by
        protocol ``mean``, ``standard_deviation``, ``lowest`` and ``highest`` in nats per character.
    """
    methods: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["kind"] == "ternary" and row["command"]:
            methods.setdefault(_method(row["command"]), []).append(row)
    groups = []
    for command, members in methods.items():
        if len({row["seed"] for row in members}) < 2:
            continue
        group: dict[str, Any] = {"command": command, "files": [row["file"] for row in members]}
        for protocol in PROTOCOLS:
            nats = [row[f"nats_per_char_{protocol}"] for row in members]
            group[protocol] = {"mean": mean(nats), "standard_deviation": stdev(nats),
                               "lowest": min(nats), "highest": max(nats)}
        groups.append(group)
    return groups


def _method(command: str) -> str:
    words = [RENAMED_OPTIONS.get(word, word) for word in command.split()]
    chosen = [word for before, word in zip(["", *words], words, strict=False)
              if word not in _NOT_THE_METHOD and before not in _NOT_THE_METHOD]
    # A command from before this was an option means what is its default now.
    if "--synthetic" in chosen and "--synthetic-batch" not in chosen:
        behind = chosen.index("--synthetic") + 2
        chosen[behind:behind] = ["--synthetic-batch", str(Options.synthetic_batch)]
    return " ".join(chosen)


def _is_ternary(path: Path) -> bool:
    """Tell if it is no network in floating point; a file that is neither is ``Model``'s matter."""
    try:
        with safe_open(path, "np") as file:
            return (file.metadata() or {}).get("format") != FORMAT
    except (OSError, SafetensorError):
        return True


def _training(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a row says of how its model was made."""
    def of(source: Mapping[str, Any]) -> dict[str, Any]:
        return {key: source.get(key) for key in (
            "command", "seed", "characters_seen", "training_seconds")}

    return {**of(provenance), "teachers": [
        {"sha256": teacher["sha256"], **of(teacher),
         "nats_per_char_stateful": teacher.get("float_nats_per_char"),
         "nats_per_char_windows": teacher.get("float_nats_per_char_windows")}
        for teacher in provenance.get("teachers", [])]}


def _ternary(path: Path, text: Corpus) -> list[tuple[dict[str, Any], WorkEnergy]]:
    model = Model.load(path)
    zeros = zero_shares(model, board_device().packing)
    work = work_per_character(model.config, "ternary", "trits", zero_share=zeros.weights)
    nats = {protocol: evaluate(model, text.held_out_text, protocol)["nats_per_char"]
            for protocol in PROTOCOLS}
    about, packing = model.provenance, board_device().packing
    floats = {"stateful": about.get("float_nats_per_char"),
              "windows": about.get("float_nats_per_char_windows")}
    return [({
        "file": path.name,
        "kind": "ternary",
        "format": "trits",
        "weights": model.config.ternary_weights,
        "zero_share": zeros.weights,
        "zero_codes": zeros.codes,
        "zero_words": zeros.words,
        "zero_words_by_lane": zeros.lanes,
        "weight_bytes": 2 * packing.word_units * model.config.weight_words(packing),
        "multiplications_per_char": work.count("multiply"),
        "additions_per_char": work.count("add"),
        "cycles_per_char": predict(model.config, device=board_device()).cycles_per_token,
        "fpga_core_energy_per_char": _fpga_core(model),
        **{f"nats_per_char_{protocol}": nats[protocol] for protocol in PROTOCOLS},
        # What the trainer measured before it rounded, on the held-out text of the training.
        "float_to_integer_gap": {
            protocol: nats[protocol] - value for protocol, value in floats.items()
            if value is not None and about.get("split") == text.split},
        "sha256": model.sha256,
        **_training(about),
    }, energy_of_work(work))]


def _fpga_core(model: Model) -> dict[str, Any]:
    """Return the power model's energy of a character on the default board's released build."""
    release = load_releases()[DEFAULT_BOARD]
    activity = release["activity"]
    estimate = estimate_power(
        Activity.from_dict(activity["busy"]), release["clock_hz"], pll=release["pll"],
        windows=[Activity.from_dict(window) for window in activity["windows"]])
    cycles = predict(model.config, device=board_device()).cycles_per_token
    interval = estimate.power_mw.scaled(1e6 * cycles / release["clock_hz"])
    which = "this" if release["model_sha256"] == model.sha256 else "another"
    return {"value": interval.p50, "unit": "nJ", "provenance": "modelled", "boundary": BOUNDARY,
            "interval": asdict(interval), "calibration": estimate.calibration,
            "source": f"activity counted on the released netlist with {which} model, computed "
                      f"cycles, {release['clock_hz'] / 1e6:g} MHz"}


def _float(path: Path, text: Corpus) -> list[tuple[dict[str, Any], WorkEnergy]]:
    model = FloatModel.load(path)
    config = model.network.config
    rows = []
    for form, each in (("float32", model), ("int8", quantised(model))):
        work = work_per_character(config, each.kind, form)
        rows.append(({
            "file": path.name,
            "kind": each.kind,
            "format": form,
            "weights": config.ternary_weights,
            "zero_share": None,
            "weight_bytes": WEIGHT_BITS[form] // 8 * config.ternary_weights,
            "multiplications_per_char": work.count("multiply"),
            "additions_per_char": work.count("add"),
            "fpga_core_energy_per_char": None,
            "nats_per_char_stateful": (None if each.kind == "transformer" else
                                       stateful_loss(each.network, text.held_out)),
            "nats_per_char_windows": windows_loss(each.network, text.held_out),
            "float_to_integer_gap": {},
            "sha256": each.sha256,
            **_training(each.provenance),
        }, energy_of_work(work)))
    return rows
