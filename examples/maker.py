"""A text from a chip, and what it took: for somebody with a board, or without one.

    python examples/maker.py                        the released chip, simulated
    python examples/maker.py serial:/dev/ttyUSB1    an iCEBreaker

An editor that knows cells shows each ``# %%`` as one of a notebook.
"""

# %%
import sys

import trilight

target = sys.argv[1] if len(sys.argv) > 1 else "netlist"

# %% The chip. Its weights are sent through the serial port, or, if it is simulated, put there as by
# a boot from flash; either way it is asked for their CRC.
board = trilight.open_board(target, boot=target == "netlist", progress=print)
board.load()
print(board)

# %% A text: the same seed gives the same one on every target.
for token in board.generate("ROMEO:", tokens=12, temperature=0.8, seed=7):
    print(token, end="", flush=True)
print()

# %% What it took. In a notebook the last line alone shows a table.
figures = trilight.report(board)
print(figures)
print(f"{figures['cycles_per_token']:,.0f} cycles a token, counted by the chip")
energy = figures["figures"]["joules_per_token"]
if energy["value"] is not None:
    print(f"{1e6 * energy['value']:.2f} µJ a token, {energy['provenance']}; 90 % within "
          f"{1e6 * energy['interval']['p05']:.2f} to {1e6 * energy['interval']['p95']:.2f}")

# %% Two sequences at once, each as it would be alone.
texts = {0: "ROMEO:", 1: "JULIET:"}
for token in board.generate_many(["ROMEO:", "JULIET:"], tokens=6, seeds=[7, 8]):
    texts[token.prompt] += str(token)
print(texts)
board.close()
