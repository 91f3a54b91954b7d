"""The demo's catalogue: the pictures beside this module, and the CSV that names them.

`halftone_samples.demo_pictures` rendered the pictures.
"""

import csv
from pathlib import Path

PICTURES = Path(__file__).parent / "pictures"
# The demo's HALFTONE_MAX_IMAGE_BYTES: larger than every picture except OVERSIZED.
MAX_IMAGE_BYTES = 400_000
BROKEN_LINK = "discontinued.jpg"
OVERSIZED = "candle-print.jpg"

# Each product with its pictures. Every real catalogue has a broken link and an oversized picture.
CATALOGUE = {
    "Mug": ("mug-1.jpg", BROKEN_LINK, "mug-2.png"),
    "Bottle": ("bottle-1.jpg", "bottle-2.webp"),
    "Vase": ("vase-1.jpg", "vase-2.avif"),
    "Ball": ("ball-1.jpg", "ball-2.gif"),
    "Book": ("book-1.jpg", "book-2.tif"),
    "Candle": ("candle-1.jpg", OVERSIZED),
    "Lamp": ("lamp-1.jpg",),
}


def write_csv(path: Path, base_url: str) -> None:
    """Write the catalogue's CSV, with its pictures under `base_url`."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Serial Number", "Product Name", "Input Image Urls"])
        for serial, (product, names) in enumerate(CATALOGUE.items(), start=1):
            writer.writerow([serial, product, ",".join(f"{base_url}/{name}" for name in names)])
