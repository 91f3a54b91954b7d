"""Reference pages generated from declarations."""

import pytest

from scripts.declared_reference import FOLDER, PAGES


@pytest.mark.parametrize("name", PAGES)
def test_page_is_that_of_the_declarations(name: str) -> None:
    assert (FOLDER / name).read_text() == PAGES[name](), "run `make generate`"
