"""Every error that the workers raise for their own callers to catch.

The exception is Stopping (runtime.py). It derives from a class of Dramatiq, and the codec
processes, which import this module, must not load Dramatiq.
"""

from collections.abc import Callable

from halftone_shared.errors import HalftoneError
from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.results import ImageError
from halftone_shared.model.states import WaitReason


class BlockedAddress(HalftoneError):
    """The address or port of a host is not allowed. It is no connection error, so that it is never
    retried.
    """


class HostNotFound(HalftoneError):
    """The name does not resolve. `temporary`: the resolver failed, not the name."""

    def __init__(self, message: str, *, temporary: bool) -> None:
        super().__init__(message)
        self.temporary = temporary


class HostBusy(HalftoneError):
    """No place at the host came free: the image was not tried, and must be tried again later.

    `appointment_seconds(images)` returns in how many seconds, for this number of images.
    """

    reason = WaitReason.BUSY

    def __init__(self, host: str, appointment_seconds: Callable[[int], float]) -> None:
        super().__init__(f"{host} is busy with other images.")
        self.host = host
        self.appointment_seconds = appointment_seconds


class HostPaused(HostBusy):
    """An operator has paused the host: the image was not tried, and waits until the host is
    resumed.
    """

    reason = WaitReason.PAUSED

    def __init__(self, host: str, seconds: float) -> None:
        super().__init__(host, lambda _: seconds)
        self.args = (f"{host} is paused.",)


class HostAsked(HostBusy):
    """The host asked to be tried again later (Retry-After): the image was not tried."""

    reason = WaitReason.RETRY_AFTER

    def __init__(self, host: str, seconds: float) -> None:
        super().__init__(host, lambda _: seconds)
        self.args = (f"{host} asked to be tried again later.",)


class MemoryBusy(HalftoneError):
    """No memory came free: the image was not tried, and must be tried again later."""


class HostDown(HalftoneError):
    """The host failed to answer several times in a row. `code` is its last failure; `seconds` is
    how long it gets no requests.
    """

    def __init__(self, host: str, code: ImageErrorCode, failures: int, seconds: float) -> None:
        super().__init__(
            f"{host} did not answer {failures} times in a row, and is not asked for now."
        )
        self.host, self.code, self.seconds = host, code, seconds


class BadHttp(HalftoneError):
    """A server's answer is not valid HTTP. The message is a sentence that says what is wrong."""


class NotModified(HalftoneError):
    """The server says that an image has not changed since its validators were saved."""


class FetchFailed(HalftoneError):
    """An image could not be fetched. `retry_after_seconds` is the pause that its server asked for,
    if any; then `asking_host` is the server. `silent_host` is the host, if it did not answer in
    time.
    """

    def __init__(
        self,
        error: ImageError,
        retry_after_seconds: float | None = None,
        silent_host: str | None = None,
        asking_host: str | None = None,
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.retry_after_seconds = retry_after_seconds
        self.silent_host = silent_host
        self.asking_host = asking_host


class ImageRefused(HalftoneError):
    """An image cannot be compressed. The message is a sentence for the client."""

    def __init__(self, code: ImageErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class MustDecode(HalftoneError):
    """The JPEG is damaged, or of a kind that cannot be requantised."""
