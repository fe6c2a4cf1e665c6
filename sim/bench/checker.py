"""In-order comparison of what a design gives with what it should give."""

from collections import deque
from collections.abc import Iterable
from typing import Any

__all__ = ["InOrderChecker"]


class InOrderChecker:
    """Comparison of values one by one as they come, so that a test ends at the first wrong one.

    Parameters
    ----------
    name : str
        What the values are, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._expected: deque[Any] = deque()
        self.count = 0
        """Values seen so far."""

    def expect(self, values: Iterable[Any]) -> None:
        """Add values to the end of those that are to come; arrays may be of any integer type."""
        self._expected.extend(
            value.item() if hasattr(value, "item") else value for value in values)

    def __call__(self, value: Any) -> None:
        """Take the next value; raise ``AssertionError`` unless it is the expected one."""
        index = self.count
        self.count += 1
        assert self._expected, f"{self._name} {index}: {value} (nothing expected)"
        expected = self._expected.popleft()
        assert value == expected, f"{self._name} {index}: {value} != {expected} (expected)"

    @property
    def pending(self) -> int:
        """Values that have not come yet."""
        return len(self._expected)

    def finish(self) -> None:
        """Raise ``AssertionError`` if values are still to come, or none ever was."""
        assert self.count, f"{self._name}: nothing was compared"
        assert not self._expected, \
            f"{self._name}: {self.pending} values missing, the next is {self._expected[0]}"
