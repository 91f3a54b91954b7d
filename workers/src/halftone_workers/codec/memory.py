"""Recognizes errors of image libraries that mean that memory ran out."""

_SIGNS = ("out of memory", "memory allocation")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or its cause, means that memory ran out."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or any(sign in str(cause).lower() for sign in _SIGNS):
            return True
        cause = cause.__cause__
    return False
