"""One parser under the fuzzer, in a process of its own: ``python -m fuzz.worker NAME ARGUMENT...``

The arguments are libFuzzer's. Ends with 0 at the end of the time, with another status at a finding,
which libFuzzer then has written down.
"""

import gc
import sys
import time
from types import FunctionType

import atheris

from .targets import TARGETS
from .watch import watched

INSTRUMENTED = ("trilight.", "sliplib.", "tomllib.", "json.")
"""Modules whose branches guide the fuzzer."""

INPUT_SECONDS = 5
"""Processor time that an input may take. What never ends, libFuzzer stops."""

MUTATED = 2
"""One of so many mutations changes the structure, the others bytes."""


def main() -> None:
    """Fuzz until libFuzzer's time is over."""
    name, *arguments = sys.argv[1:]
    target = TARGETS[name]
    # Whatever is imported late is imported now, for it runs code.
    for seed in target.seeds():
        target.accepts(seed)
    for function in [found for found in gc.get_objects() if isinstance(found, FunctionType)
                     and f"{found.__module__}.".startswith(INSTRUMENTED)]:
        atheris.instrument_func(function)

    def test(data: bytes) -> None:
        began = time.process_time()
        with watched():
            target.accepts(data)
        spent = time.process_time() - began
        assert spent < INPUT_SECONDS, f"{spent:.1f} s of processor time for {len(data)} bytes"

    def mutate(data: bytes, maximum: int, seed: int) -> bytes:
        if target.mutate is not None and seed % MUTATED == 0:
            mutated = target.mutate(data, seed)
            if mutated is not None and len(mutated) <= maximum:
                return mutated
        return atheris.Mutate(data, maximum)

    atheris.Setup([f"fuzz {name}", *arguments], test, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
