"""Renders the pictures that `halftone demo` ships: one of each format that shops serve.

    python -m halftone_samples.demo_pictures cli/src/halftone_cli/demo/pictures

The files are committed. Render them again only when a picture or a format is added.
"""

import sys
from pathlib import Path

from halftone_samples import render_cutout, render_photo

PHOTO = (1000, 1000)
JPEGS = ("mug-1", "bottle-1", "vase-1", "ball-1", "book-1", "candle-1", "lamp-1")


def render_demo_pictures(folder: Path) -> None:
    """Write the demo's pictures into a folder; about 3 MB in all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in JPEGS:
        product = name.removesuffix("-1")
        render_photo(product, 1, PHOTO).save(folder / f"{name}.jpg", quality=90)
    render_cutout("mug", 2, (520, 520)).save(folder / "mug-2.png")
    render_photo("bottle", 2, PHOTO).save(folder / "bottle-2.webp", quality=92)
    render_photo("vase", 2, PHOTO).save(folder / "vase-2.avif", quality=85)
    first, *others = [render_photo("ball", 2 + frame, (300, 300)) for frame in range(4)]
    first.save(folder / "ball-2.gif", save_all=True, append_images=others, duration=600, loop=0)
    render_photo("book", 2, (360, 360)).save(folder / "book-2.tif", compression="tiff_lzw")
    # Larger than the demo's limit, which refuses it.
    render_photo("candle", 3, PHOTO).save(folder / "candle-print.jpg", quality=98, subsampling=0)


if __name__ == "__main__":
    render_demo_pictures(Path(sys.argv[1]))
