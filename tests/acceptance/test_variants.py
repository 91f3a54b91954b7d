"""Variants through the whole service: one download for each image, and each output in its column.

`make bench SECTIONS=variants` runs the same check with 1,000 products.
"""

from tests.support.halftone import Service
from tests.support.origin import Origin
from tests.support.variants import deliver_catalogue


def test_each_image_is_fetched_once_and_each_output_is_in_its_column(
    service: Service, origin: Origin
) -> None:
    assert deliver_catalogue(service, origin, products=10).outputs == 120
