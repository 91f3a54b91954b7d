"""The client library's generated modules match the service's current declarations."""

import re
import subprocess
import sys

import pytest

from cli.generate import PAGE, commands_page
from client.generate import ANSWERS, MODULES, PACKAGE
from halftone_api.openapi.document import describe_api


@pytest.mark.parametrize("name", MODULES)
def test_generated_module_is_current(name: str) -> None:
    written = (PACKAGE / name).read_text()
    assert written == MODULES[name](), "Run `make generate` and commit what it writes."


def test_generated_reference_of_the_commands_is_current() -> None:
    assert PAGE.read_text() == commands_page(), "Run `make generate` and commit what it writes."


def test_every_answer_of_the_api_has_a_class() -> None:
    document = str(describe_api("0", "http://127.0.0.1:8000")["paths"])
    answers = set(re.findall(r"#/components/schemas/(\w+)", document))
    handed_out_another_way = {
        "Details",
        "StatusWithProducts",
        "RequestsPage",
        "Replayed",
        "Origins",
    }
    of_the_service = {"Index", "Alive", "Ready", "Operations", "FailureGroups"}
    assert answers - set(ANSWERS) <= handed_out_another_way | of_the_service | {
        "Upload",
        "Callback",
    }


def test_import_brings_neither_httpx_nor_asyncio_nor_pydantic() -> None:
    """Each of these takes longer to import than the library. Creating a client imports httpx."""
    script = "import sys, halftone; print({'httpx', 'pydantic', 'asyncio'} & set(sys.modules))"
    loaded = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert loaded.strip() == "set()"
