"""The check of a device's weight memory, by which a changed bit is found.

The device reads its weights by itself whenever a run has ended and works out their CRC-32. The host
knows what it must be.
"""

import zlib

from trilight.hw.contract.protocol import WEIGHT_CRC, WORD_BYTES, Region
from trilight.sw.errors import DeviceError, WeightsChangedError

from .link import Link, read_request, write_request
from .session import POLL_S, STALLED_POLLS

__all__ = ["WeightCheck"]

WEIGHT_WORD_BYTES = 8
"""Bytes of a weight word of 8 lanes, which most devices have."""


class WeightCheck:
    """Comparison of a device's weights with those that were written.

    Parameters
    ----------
    word_bytes
        Of a weight word, which follow from the device's packing.
    """

    def __init__(self, link: Link, word_bytes: int = WEIGHT_WORD_BYTES) -> None:
        self._link = link
        self._word_bytes = word_bytes
        self._expected = 0

    def expect(self, weights: bytes) -> None:
        """Say what the weight memory holds from its first word on.

        Parameters
        ----------
        weights
            Whole words, at least one.
        """
        words, rest = divmod(len(weights), self._word_bytes)
        if not words or rest:
            raise ValueError(f"weights must be whole words of {self._word_bytes} bytes, "
                             f"not {len(weights)} bytes")
        self._expected = zlib.crc32(weights)
        last = (words - 1).to_bytes(2 * WORD_BYTES, "little")
        self._link.request(write_request(Region.WEIGHT_CRC, last)).check()

    def holds(self) -> bool:
        """Tell if the device's weights are the expected ones.

        Raises
        ------
        DeviceError
            The device does not come to an end.
        """
        try:
            self.confirm()
        except WeightsChangedError:
            return False
        return True

    def confirm(self) -> None:
        """Wait until the device has read its weights, and compare their CRC.

        It takes 8 cycles a word: 3 ms for 16,384 words at 48 MHz.

        Raises
        ------
        WeightsChangedError
            They are others than were written.
        DeviceError
            The device does not come to an end.
        """
        for _ in range(STALLED_POLLS):
            payload = self._link.request(read_request(
                Region.WEIGHT_CRC, WEIGHT_CRC.size // WORD_BYTES)).check()
            if len(payload) != WEIGHT_CRC.size:
                raise DeviceError(f"a check must answer {WEIGHT_CRC.size} bytes, "
                                  f"not {len(payload)}; reset the board and try again")
            complete, found = WEIGHT_CRC.unpack(payload)
            if complete:
                if found != self._expected:
                    raise WeightsChangedError(
                        f"the weights in {self._link.transport.name} have changed: their CRC is "
                        f"{found:08x}, not {self._expected:08x}")
                return
            self._link.listen(POLL_S)
        raise DeviceError("the device does not finish the check of its weights; reset the board "
                          "and load the model again")
