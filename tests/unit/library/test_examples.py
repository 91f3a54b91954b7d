"""The docstring examples that need no service."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["_calls", "_events", "_sources", "webhooks"])
def test_examples_are_true(name: str) -> None:
    module = importlib.import_module(f"halftone.{name}")
    results = doctest.testmod(module, optionflags=doctest.IGNORE_EXCEPTION_DETAIL)
    assert results.attempted > 0
    assert results.failed == 0
