"""What an error leaves in the log."""

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
    pytest.importorskip("rich")  # with it structlog would print every variable
    program = PROGRAM.replace("FORMAT", repr(log_format))
    log = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stderr
    assert "in deliver" in log
    assert "it broke" in log
    assert "xxxx" not in log
