"""What an error writes to the log."""

import os
import pty
import subprocess
import sys

import pytest

PROGRAM = """
import structlog
from halftone_shared.runtime.logs import configure_logs

configure_logs("info", FORMAT, service="test")
def deliver(secret):
    raise ValueError("it broke")
try:
    deliver("whsec_" + "x" * 40)
except ValueError:
    structlog.get_logger().exception("failed")
"""


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_trace_of_an_error_says_where_it_was_and_shows_no_values(log_format: str) -> None:
    pytest.importorskip("rich")  # with rich, structlog would print every variable
    program = PROGRAM.replace("FORMAT", repr(log_format))
    log = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stderr
    assert "in deliver" in log
    assert "it broke" in log
    assert "xxxx" not in log


WARNING = """
from halftone_shared.runtime.logs import warn_of_unknown_variables
warn_of_unknown_variables()
"""
COLOUR = b"\x1b["


def test_log_in_a_file_has_no_colours() -> None:
    program = PROGRAM.replace("FORMAT", repr("console"))
    log = subprocess.run(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=True,
    ).stdout
    assert b"failed" in log
    assert COLOUR not in log


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_log_on_a_terminal_has_colours_unless_no_color_is_set(
    no_color: str, *, coloured: bool
) -> None:
    program = PROGRAM.replace("FORMAT", repr("console"))
    ours, terminal = pty.openpty()
    environment = os.environ | {"NO_COLOR": no_color, "TERM": "xterm"}
    subprocess.run([sys.executable, "-c", program], stderr=terminal, env=environment, check=True)
    os.close(terminal)
    log = os.read(ours, 65536)
    os.close(ours)
    assert b"failed" in log
    assert (COLOUR in log) == coloured


def test_variable_that_is_no_setting_is_named_with_the_nearest_one() -> None:
    environment = os.environ | {"HALFTONE_DATABSE_URL": "postgresql://db", "HALFTONE_ZZZ": "red"}
    log = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("FORMAT", repr("json")) + WARNING],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    ).stderr
    warning = (
        "HALFTONE_DATABSE_URL is not a halftone setting and is ignored."
        " Did you mean HALFTONE_DATABASE_URL?"
    )
    assert log.count(warning) == 1
    assert '"HALFTONE_ZZZ is not a halftone setting and is ignored."' in log


def test_work_goes_on_when_the_log_cannot_be_written() -> None:
    program = PROGRAM.replace("FORMAT", repr("json")) + "print('done')"
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        run = subprocess.run(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=full, check=False
        )
    assert run.stdout == b"done\n"


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_value_that_cannot_be_shown_costs_its_line_only(log_format: str) -> None:
    program = PROGRAM.replace("FORMAT", repr(log_format)) + (
        "class Odd:\n"
        "    def __repr__(self):\n"
        "        raise RuntimeError('no')\n"
        "structlog.get_logger().info('odd', value=Odd())\n"
        "structlog.get_logger().info('after it')\n"
    )
    log = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stderr
    assert "odd (the rest of the line cannot be shown: RuntimeError)" in log
    assert "after it" in log
