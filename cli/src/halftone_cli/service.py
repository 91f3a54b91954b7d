"""A command's connection to a running service, with errors written for people."""

from collections.abc import Iterator
from contextlib import contextmanager

import halftone
from halftone_cli.program import command_line, with_url
from halftone_cli.terminal import EXIT_FAILED, EXIT_REFUSED, EXIT_UNREACHABLE, fail

DEFAULT_URL = "http://127.0.0.1:8000"
# A person waits at the terminal: two short retries are enough.
RETRIES = 2


@contextmanager
def connected(url: str) -> Iterator[halftone.Client]:
    """A client of the service. An error ends the command with a message and an exit code."""
    with errors_reported(url), halftone.Client(url, retries=RETRIES) as client:
        yield client


@contextmanager
def errors_reported(url: str, *, refused: int = EXIT_FAILED) -> Iterator[None]:
    """`refused`: the exit code if the service refuses the input."""
    try:
        yield
    except halftone.Unauthorized as error:
        made = command_line("keys", "create", "OWNER")
        text = f"{error}\nSet HALFTONE_API_KEY to an API key; `{made}` makes one."
        fail(text, EXIT_FAILED, **_members(error))
    except halftone.Refused as error:
        fail(_refusal_text(error), refused, **_members(error))
    except halftone.ApiError as error:
        fail(str(error), EXIT_FAILED, **_members(error))
    except halftone.InvalidUpload as error:
        fail(str(error), EXIT_REFUSED)
    except halftone.Unreachable as error:
        text = str(error)
        if text.startswith("No halftone answers"):
            text += f" `{command_line('up')}` starts one; --url names another."
        fail(text, EXIT_UNREACHABLE)
    except (halftone.UnexpectedAnswer, halftone.InvalidSetting) as error:
        fail(f"{error} --url and HALFTONE_URL name the service.", EXIT_UNREACHABLE)


def hint(url: str, *arguments: str) -> str:
    """A command for this service, to paste into a shell."""
    return with_url(*arguments, url=url, default=DEFAULT_URL)


def _refusal_text(error: halftone.Refused) -> str:
    """The error, then a line for each row with an error."""
    lines = [str(error)]
    lines += [
        f"  line {row.line}, {row.column}: {row.message} ({row.value!r})" for row in error.errors
    ]
    if (more := error.error_count - len(error.errors)) > 0:
        lines.append(f"  and {more:,} more")
    if error.code == "invalid_webhook_url" and "HALFTONE_FETCH_ALLOW" not in error.detail:
        lines.append(
            "An address of a private network is only called where HALFTONE_FETCH_ALLOW of the"
            " service names the network."
        )
    return "\n".join(lines)


def _members(error: halftone.ApiError) -> dict[str, object]:
    return {"status": error.status, "code": error.code, "problem": dict(error.problem)}
