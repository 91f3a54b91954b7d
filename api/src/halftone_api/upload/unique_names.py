"""Makes output names unique within a request, ignoring case.

A request may have a million products with several images each. Their names are kept in a temporary
SQLite file, so that memory use stays constant.
"""

import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from halftone_shared.db.requests import NewProduct
from halftone_shared.model.options import ImageOptions
from halftone_shared.model.output_names import NamedProduct, output_names

# SQLite's page cache, in KiB.
_CACHE_KIB = 16 * 1024


class UniqueNames:
    """Returns every name once: the second `mug-1` becomes `mug-1-2`."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.execute("CREATE TABLE taken (name TEXT PRIMARY KEY) WITHOUT ROWID")
        database.execute(
            "CREATE TABLE repeated (name TEXT PRIMARY KEY, next INTEGER) WITHOUT ROWID"
        )

    def claim_all(self, names: Iterable[str]) -> list[str]:
        return [self.claim(name) for name in names]

    def claim(self, name: str) -> str:
        """The name, or the name with the lowest number that makes it unique."""
        if self._take(name):
            return name
        key = name.casefold()
        row = self._database.execute("SELECT next FROM repeated WHERE name = ?", (key,)).fetchone()
        number = row[0] if row else 2
        while not self._take(f"{name}-{number}"):
            number += 1
        self._database.execute(
            "INSERT INTO repeated VALUES (?, ?) ON CONFLICT DO UPDATE SET next = excluded.next",
            (key, number + 1),
        )
        return f"{name}-{number}"

    def _take(self, name: str) -> bool:
        taken = self._database.execute("INSERT OR IGNORE INTO taken VALUES (?)", (name.casefold(),))
        return taken.rowcount == 1


@contextmanager
def output_namer(options: ImageOptions) -> Iterator[Callable[[NewProduct], NewProduct]]:
    """Names the outputs of products as the option `names` says; without that option, outputs get no
    names.
    """
    template = options.names
    if template is None:
        yield lambda product: product
        return
    variants = [variant.name for variant in options.variants]
    with unique_names() as taken:

        def named(product: NewProduct) -> NewProduct:
            serial = str(product.line if product.serial_number is None else product.serial_number)
            about = NamedProduct(
                key=product.product_key or product.product_name or serial,
                name=product.product_name or product.product_key or serial,
                serial=serial,
                input_urls=product.input_image_urls,
            )
            names = taken.claim_all(output_names(template, about, variants))
            return replace(product, output_names=names)

        yield named


@contextmanager
def unique_names() -> Iterator[UniqueNames]:
    """A set of names, empty at first. Its file is deleted at the end of the block."""
    with (
        tempfile.TemporaryDirectory(prefix="halftone-names-") as folder,
        closing(sqlite3.connect(Path(folder) / "names", isolation_level=None)) as database,
    ):
        # The file is not needed after the block, so there is no journal and no waiting for the
        # disk.
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        database.execute("BEGIN")
        yield UniqueNames(database)
