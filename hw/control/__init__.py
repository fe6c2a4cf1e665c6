"""Control of a run: the sequencer."""
