"""Messages name the command in the form in which the reader can call it."""

import os
import sys
from pathlib import Path

import pytest

from halftone_cli.program import command_line, program_name


@pytest.fixture(autouse=True)
def forgotten() -> None:
    program_name.cache_clear()


def test_command_on_the_path_has_its_plain_name(monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", os.pathsep.join([scripts, os.environ["PATH"]]))
    assert command_line("status", "1 2", "--watch") == "halftone status '1 2' --watch"


def test_command_of_a_checkout_has_its_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    script = Path(sys.executable).with_name("halftone")
    monkeypatch.chdir(script.parents[2])
    assert command_line("up") == f"{script.parent.parent.name}/bin/halftone up"
    monkeypatch.chdir(tmp_path)
    program_name.cache_clear()
    assert command_line("up") == f"{script} up"
