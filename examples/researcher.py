"""What the model knows, what a token costs, and what a model of other sizes would: in integers.

    python examples/researcher.py            a line of Shakespeare
    python examples/researcher.py play.txt   a text of your own

An editor that knows cells shows each ``# %%`` as one of a notebook.
"""

# %%
import sys
from pathlib import Path

import numpy as np

import trilight
from trilight.hw.contract.shapes import ModelConfig
from trilight.hw.support.boards import board_device
from trilight.sw.model.bundled import default_model_path
from trilight.sw.quality.evaluate import character_losses
from trilight.sw.report.performance import predict

LINE = "DUKE OF YORK:\nWhat, will you have it so?\n"

# %% The integers that the chip computes, as NumPy arrays.
model = trilight.Model.load(default_model_path())
print(model)

# %% How surprised it is by each character of a text, in nats. Its memory is reset every 256
# characters, so a line is enough.
text = Path(sys.argv[1]).read_text(encoding="utf-8") if len(sys.argv) > 1 else LINE
losses = character_losses(model, text, "windows")
print(f"{np.nanmean(losses):.3f} nats per character, {np.nanmean(losses) / np.log(2):.3f} bits")
worst = np.argsort(np.nan_to_num(losses))[::-1][:3]
for place in worst:
    print(f"  {losses[place]:.1f} nats for {text[place]!r} after {text[max(place - 8, 0):place]!r}")

# %% Cycles of a token of models of other sizes, exact without simulating them.
device = board_device()
for d_model in (64, 96, 128, 160):
    config = ModelConfig(vocab_size=model.config.vocab_size, d_model=d_model, n_layers=3,
                         d_hidden=d_model * 3 // 2)
    found = predict(config, device=device)
    fits = "fits" if not config.violations(device) else "does not fit"
    print(f"d_model {d_model:3}: {config.ternary_weights:9,} weights, {fits}; "
          f"{found.cycles_per_token:8,.0f} cycles, {48e6 / found.cycles_per_token:7,.0f} tokens/s")
