"""Words that tell what a column without a known name is. Pure."""

import re

# Columns that usually identify a product, best first.
LIKELY_KEYS = (
    "sku", "handle", "product code", "code", "reference", "article number", "artikelnummer",
    "item number", "product id", "id", "ean", "gtin", "key",
)  # fmt: skip
LIKELY_NAMES = (
    "title", "name", "product name", "product title", "titel", "description", "bezeichnung",
    "product", "nombre", "nom", "nome",
)  # fmt: skip
PICTURE_NAME = re.compile(
    r"image|img|pic|photo|foto|bild|imagen|afbeelding|immagin|zdj|media", re.IGNORECASE
)
