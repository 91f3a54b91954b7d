"""Every error that halftone_shared raises for its callers to catch."""

from collections.abc import Iterable


class HalftoneError(Exception):
    """The base class of halftone's errors. The message is a sentence for an operator, unless the
    class says otherwise.
    """


class BadSettings(HalftoneError):
    """Settings from the environment cannot be used. Each of `problems` names a variable, its value
    and what is expected.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(dict.fromkeys(problems))
        super().__init__("\n  ".join(["halftone cannot start:", *self.problems]))


class DatabaseUnavailable(HalftoneError):
    """The database cannot be used now; the message says why.

    `public` omits the address, user and driver's text that the message may contain.
    """

    def __init__(self, message: str, *, public: str | None = None) -> None:
        super().__init__(message)
        self.public = public or message


class QueueUnavailable(HalftoneError):
    """The queue cannot take messages now; the message says why. Nothing is lost: products and
    events that were leased for it become due again.
    """


class StorageUnavailable(HalftoneError):
    """The storage could not write or read a file; the message says why. A retry may work, unless
    `is_permanent`: no such bucket, or no permission.
    """

    is_permanent = False


class ImageNotStored(HalftoneError):
    """The storage has no file of that name."""


class SecretUnreadable(HalftoneError):
    """A stored secret was sealed under another HALFTONE_WEBHOOK_SECRET."""


class NotEnded(HalftoneError):
    """The request is still running, so there is nothing to retry or delete yet."""


class AlreadyEnded(HalftoneError):
    """The request has ended, so there is nothing to cancel."""


class NothingToRetry(HalftoneError):
    """Every image of the request succeeded."""


class KeyNameTaken(HalftoneError):
    """The owner has a valid key of this name."""


class KeyNameAmbiguous(HalftoneError):
    """Several valid keys have this name; the message lists their IDs."""


class KeyUsedOtherwise(HalftoneError):
    """The idempotency key was used before with another body."""
