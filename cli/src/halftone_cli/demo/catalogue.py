"""The demo's catalogue: photographs that the project renders itself, in every format, and the CSV
that names them.
"""

import csv
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from halftone_cli.photos import PRODUCTS, render_cutout, render_photo

# As the demo sets HALFTONE_MAX_IMAGE_BYTES: above every picture but one.
MAX_IMAGE_BYTES = 6_000_000
BROKEN_LINK = "discontinued.jpg"
OVERSIZED = "print-master.tif"

SIZE = (1500, 1500)
SECOND_FORMATS = ("jpg", "png", "webp", "avif", "gif")


def render_pictures(folder: Path) -> Iterator[str]:
    """Render the catalogue's files into a folder, on all cores, yielding each name when it is
    there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [name for names in _pictures().values() for name in names if name != BROKEN_LINK]
    with ProcessPoolExecutor() as pool:
        yield from pool.map(partial(_render, folder), names)


def write_csv(path: Path, base_url: str) -> None:
    """Write the CSV of the catalogue, its pictures under `base_url`, one link of it leading
    nowhere.
    """
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Serial Number", "Product Name", "Input Image Urls"])
        for serial, (product, names) in enumerate(_pictures().items(), start=1):
            writer.writerow(
                [serial, product.title(), ",".join(f"{base_url}/{name}" for name in names)]
            )


def _pictures() -> dict[str, list[str]]:
    """The file names of each product: a photograph and a second picture, and what every real
    catalogue has too.
    """
    pictures = {
        product: [f"{product}-1.jpg", f"{product}-2.{SECOND_FORMATS[index % len(SECOND_FORMATS)]}"]
        for index, product in enumerate(PRODUCTS)
    }
    first, second, *_ = PRODUCTS
    pictures[first].insert(1, BROKEN_LINK)
    pictures[second].append(OVERSIZED)
    return pictures


def _render(folder: Path, name: str) -> str:
    path = folder / name
    product, _, view = path.stem.rpartition("-")
    seed = 1 if view == "1" else 2
    if name == OVERSIZED:
        render_photo(PRODUCTS[1], 3, SIZE).save(path)
    elif path.suffix == ".png":
        render_cutout(product, seed, (900, 900)).save(path)
    elif path.suffix == ".gif":
        first, *others = [render_photo(product, seed + frame, (480, 480)) for frame in range(4)]
        first.save(path, save_all=True, append_images=others, duration=600, loop=0)
    else:
        render_photo(product, seed, SIZE).save(path, quality=92)
    return name
