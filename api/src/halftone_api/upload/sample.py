"""Some products of a file, spread evenly over it. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from halftone_shared.db.requests import NewProduct, OtherRow


@dataclass(frozen=True)
class Sample:
    """`products` out of the `of_products` in a file, which has `of_images` images."""

    products: int
    of_products: int
    of_images: int

    def of(self, rows: Iterable[NewProduct | OtherRow]) -> Iterator[NewProduct]:
        """Exactly `products` of the products, including the first; no other rows."""
        products = (row for row in rows if isinstance(row, NewProduct))
        taken = 0
        for number, product in enumerate(products):
            if number * self.products >= taken * self.of_products and taken < self.products:
                taken += 1
                yield product

    def to_json(self) -> dict[str, int]:
        return {
            "products": self.products,
            "of_products": self.of_products,
            "of_images": self.of_images,
        }
