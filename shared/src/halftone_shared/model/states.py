"""The states of requests, products, images and webhook events, as clients read them."""

from enum import StrEnum


class Status(StrEnum):
    """The state of a request, a product or an image.

    A product goes PENDING → PROCESSING → COMPLETED | FAILED | CANCELLED, and back to PENDING when
    its worker dies or a temporary failure is tried again. A request has ended when all of its
    products have: COMPLETED if at least one image succeeded, FAILED if none did.
    """

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


# Only a retry changes a product or request with one of these.
FINAL_STATUSES = (Status.COMPLETED, Status.FAILED, Status.CANCELLED)


class Outcome(StrEnum):
    """The result of a request that has ended. `partial`: some images succeeded and some failed."""

    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"


class Action(StrEnum):
    """What became of an image that succeeded. `kept_original`: compressing would not have made it
    smaller.
    """

    COMPRESSED = "compressed"
    REUSED = "reused"
    KEPT_ORIGINAL = "kept_original"


class WebhookStatus(StrEnum):
    """`failed`: every attempt of the schedule failed, or the receiver answered 410."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


def outcome_of(processed_images: int, total_images: int) -> Outcome:
    """The outcome of `total_images` images of which `processed_images` succeeded."""
    if processed_images == 0:
        return Outcome.FAILED
    return Outcome.SUCCEEDED if processed_images == total_images else Outcome.PARTIAL


class WaitReason(StrEnum):
    """Why products wait for a host. `slow`: the host takes long to answer."""

    SLOW = "slow"
    BUSY = "busy"
    DOES_NOT_ANSWER = "does_not_answer"
    PAUSED = "paused"
    RETRY_AFTER = "retry_after"

    def sentence(self, host: str, until: str | None = None) -> str:
        """What people read about products that wait for this host. `until`: an RFC 3339 time."""
        when = f"at {until}" if until else "later"
        return _WAIT_SENTENCES[self].format(host=host, when=when)


_WAIT_SENTENCES = {
    WaitReason.SLOW: "{host} takes long to answer.",
    WaitReason.BUSY: "All connections to {host} are in use.",
    WaitReason.DOES_NOT_ANSWER: "{host} does not answer. It is tried again in a while.",
    WaitReason.PAUSED: "{host} is paused by an operator.",
    WaitReason.RETRY_AFTER: "{host} asked to be tried again {when}.",
}
