"""Checks the cells of one row after another: the errors of a row, and warnings of all rows."""

import re
from collections.abc import Sequence

from halftone_api.upload.cells import has_scheme, is_image_data
from halftone_api.upload.row_problems import Problems, RowProblem
from halftone_shared.model.image_formats import EXTENSIONS
from halftone_shared.model.urls import MAX_URL_CHARACTERS, image_url_problem

# A second URL without a scheme is part of the first: "https://…/a.jpg, cdn.example/b.jpg".
_TWO_IN_ONE = re.compile(rf"\.(?:{'|'.join(EXTENSIONS)})(?:%20)*[,|;]", re.ASCII | re.IGNORECASE)
_TWO_URLS = (
    "It is read as one URL. If it is several, write each with https:// in front, or send base_url"
    " where they are paths."
)


class RowChecks:
    """`errors` are those of the row that is being read; the file empties them for the next row.

    An invalid URL after a row's first is a warning, or an error with `strict`.
    """

    def __init__(
        self, header: Sequence[str], warnings: Problems, max_urls: int, *, strict: bool
    ) -> None:
        self.errors: list[RowProblem] = []
        self.warnings = warnings
        self._header = header
        self._max_urls = max_urls
        self._strict = strict

    def error(self, line: int, column: int, code: str, message: str, value: str) -> None:
        self.errors.append(RowProblem(line, self.column_name(column), code, message, value))

    def column_name(self, column: int) -> str:
        """A column's name as this file writes it."""
        return self._header[column].strip()

    def check_urls(self, line: int, cell: str, urls: Sequence[tuple[int, str]]) -> None:
        """Check the URLs of a product, each with its column. Errors show `cell`."""
        column = urls[0][0]
        limit = self._max_urls
        if len(urls) > limit:
            message = f"A product has at most {limit} image URLs, this one {len(urls)}."
            self.error(line, column, "too_many_urls", message, cell)
            return
        wrong = [
            (column, url, problem)
            for column, url in urls
            if (problem := image_url_problem(url)) is not None
        ]
        if wrong:
            self._tell_wrong_urls(line, cell, wrong, len(urls))
        for column, url in urls:
            if _TWO_IN_ONE.search(url):
                name = self.column_name(column)
                self.warnings.add(RowProblem(line, name, "maybe_two_urls", _TWO_URLS, url))

    def _tell_wrong_urls(
        self, line: int, cell: str, wrong: Sequence[tuple[int, str, str]], urls: int
    ) -> None:
        for column, url, _ in wrong:
            if len(url) > MAX_URL_CHARACTERS and not is_image_data(url):
                message = f"A URL has at most {MAX_URL_CHARACTERS} characters, this one {len(url)}."
                self.error(line, column, "field_too_long", message, url)
                return
        first, url, problem = wrong[0]
        problem = _better_advice(url) or problem
        if len(wrong) == urls:
            message = f"None of the product's URLs is an http(s) URL: {problem}"
            self.error(line, first, "no_valid_url", message, cell)
            return
        for column, url, problem in wrong:
            problem = _better_advice(url) or problem
            if self._strict:
                self.error(line, column, "invalid_url", problem, url)
            else:
                name = self.column_name(column)
                self.warnings.add(RowProblem(line, name, "invalid_url", problem, url))


def _better_advice(url: str) -> str | None:
    """Advice for a cell that holds something other than a URL."""
    if is_image_data(url):
        return "The cell holds the picture itself. Export URLs instead of images."
    if "://" in url and not has_scheme(url):
        return "There is other text around the URL. Leave only the URL in the cell."
    if url.strip().lower().startswith("www."):
        return "It has no scheme. Write https:// in front of it."
    if "://" not in url and re.search(r"[/.]", url) and " " not in url.strip():
        return (
            "It is a path, not a URL. Send the form field base_url with the address that such paths"
            " are below, such as https://shop.example/media/."
        )
    return None
