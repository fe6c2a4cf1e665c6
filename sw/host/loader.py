"""A model in a device's memories: written, verified, and still there or not."""

from collections.abc import Callable, Sequence

from trilight.hw.contract.protocol import ADDRESS, MAX_WORDS, WORD_BYTES, Region
from trilight.sw.errors import DeviceError, WeightsChangedError, WrongDeviceError
from trilight.sw.model.image import Image

from .link import Link, Response, read_request, write_request
from .session import Runs
from .weight_crc import WeightCheck

__all__ = ["RECOVERIES", "Loader", "Progress", "pieces"]

RECOVERIES = 3
"""Retries of a request before its error is raised."""

Progress = Callable[[int, int], None]
"""Called with the 16-bit words done and the words in all."""


class Loader:
    """Loading of images into a device, and what is known of the last one.

    Parameters
    ----------
    link : Link
    runs : Runs
        Stopped before a load.
    check : WeightCheck

    Attributes
    ----------
    sound : bool
        True while the image that was loaded last is believed to be there.
    resident : bool
        Whether the device had its weights before.
    """

    def __init__(self, link: Link, runs: Runs, check: WeightCheck) -> None:
        self._link = link
        self._runs = runs
        self._check = check
        self.sound = False
        self.resident = False

    def load(self, image: Image, *, verify: bool = False, keep: bool = False,
              progress: Progress | None = None) -> None:
        """Load an image, again if the device is not as it should be then.

        Parameters
        ----------
        image : Image
        verify : bool
            Read the weights back too, to learn where a difference lies.
        keep : bool
            Leave weights that the device holds at first there.
        progress : callable, optional
            See ``Progress``.

        Raises
        ------
        DeviceError
            The device refuses a write, or holds other weights than were written.
        """
        self.sound = False
        for left in reversed(range(RECOVERIES + 1)):
            try:
                self._load_once(image, verify=verify, keep=keep, progress=progress)
            except DeviceError as error:
                if not left or isinstance(error, WrongDeviceError):
                    raise
                keep = False
            else:
                break
        self.sound = True

    def _load_once(self, image: Image, *, verify: bool, keep: bool,
                   progress: Progress | None) -> None:
        segments = [(address, words.astype("<u2").tobytes()) for address, words in image.segments]
        weights = [(address, data) for address, data in segments if address < Region.PROGRAM]
        if self._link.transport.boots:
            for address, data in weights:
                self._link.transport.place(address, data)
            segments = [segment for segment in segments if segment not in weights]
        done = total = 0

        def count(words: int) -> None:
            nonlocal done
            done += words
            if progress is not None:
                progress(done, total)

        def written(response: Response) -> None:
            response.check()
            count((len(response.request.payload) - ADDRESS.size) // WORD_BYTES)

        self._runs.stop()
        # First, for a reset later on takes it back, and so shows in the CRC.
        self._check.expect(b"".join(data for _, data in weights))
        self.resident = keep and self._check.holds()
        if self.resident:
            segments = [segment for segment in segments if segment not in weights]
        total = sum(len(data) for _, data in segments + (weights if verify else [])) // 2
        self._link.exchange([write_request(*piece) for address, data in segments
                             for piece in pieces(address, data)], on_response=written)
        if verify:
            self._compare(weights, count)
        self._check.confirm()

    def _compare(self, segments: Sequence[tuple[int, bytes]], count: Callable[[int], None]) -> None:
        """Read segments back; ``count`` is called with the words of each response."""
        parts = [part for address, data in segments for part in pieces(address, data)]

        def read(response: Response) -> None:
            count(len(response.check()) // 2)

        responses = self._link.exchange(
            [read_request(address, len(data) // 2) for address, data in parts], on_response=read)
        for (address, data), response in zip(parts, responses, strict=True):
            if response.payload != data:
                raise DeviceError(f"the device holds other weights at {address:#x} than were "
                                  "written; load again, and suspect its memory if it persists")

    def still_sound(self) -> bool:
        """Tell if the device holds what was loaded, and was neither reset nor used by others."""
        if self.sound:
            try:
                self._check.confirm()
            except WeightsChangedError:
                self.sound = False
        return self.sound


def pieces(address: int, data: bytes) -> list[tuple[int, bytes]]:
    """Return a segment in parts that fit a frame."""
    size = WORD_BYTES * MAX_WORDS
    return [(address + start // 2, data[start:start + size])
            for start in range(0, len(data), size)]
