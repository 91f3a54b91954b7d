"""Make the pictures of the how-to pages, and the one of PNG palettes.

Run `python -m scripts.how_to_pictures`. It renders sample photographs, sends them through a running
halftone with the options of the pages, and puts before and after side by side in docs/pictures/.
Run it again when an option's effect changes.
"""

import io
import json
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from halftone_samples import render_cutout, render_photo
from halftone_shared.model.options import ImageOptions
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.pipeline import compress
from tests.support.halftone import Service, running_up
from tests.support.origin import Origin, running_origin

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
SIDE = 300
GAP, TEXT_PIXELS = 16, 15
GROUND, INK = (243, 244, 246), (31, 41, 55)
# The part of a cut-out that is shown, in pixels, and how many times it is magnified.
_PART, _TIMES = (175, 140), 2
HEADER = "Serial Number,Product Name,Input Image Urls\n"

Shown = tuple[Image.Image, str]


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        running_origin() as origin,
        running_up(Path(folder), HALFTONE_FETCH_ALLOW="127.0.0.0/8") as service,
    ):
        for make in (marketplace, thumbnails, watermark, names):
            make(service, origin)
    palettes()


def marketplace(service: Service, origin: Origin) -> None:
    """A cutout with much empty space becomes a square on white that the product fills."""
    cutout = Image.new("RGBA", (1800, 1200))
    cutout.alpha_composite(render_cutout("vase", 1, (900, 900)), (620, 170))
    source = saved(cutout, "PNG")
    url = origin.serve("/vase.png", source)
    (image,) = products(service, service.accepted(row(1, "Vase", url), preset="amazon-main"))
    after = fetched(service, image["output_url"])
    rules = [check["rule"] for check in image["checks"] if check["result"] != "pass"]
    print("amazon-main: not passed:", rules)
    write(
        "how-to-marketplace.jpg",
        [
            (checkered(cutout), f"before: {size(cutout)}, transparent"),
            (after, f"after: {size(after)}, JPEG on white"),
        ],
    )


def thumbnails(service: Service, origin: Origin) -> None:
    """One photograph, and three thumbnails of it."""
    source = render_photo("mug", 1, (1500, 1000))
    url = origin.serve("/mug.jpg", saved(source, "JPEG", quality=92))
    box = {"width": 300, "height": 300}
    variants = [
        {"name": "inside", **box},
        {"name": "pad", **box, "fit": "pad"},
        {"name": "cover", **box, "fit": "cover", "gravity": "attention"},
    ]
    (image,) = products(
        service, service.accepted(row(1, "Mug", url), variants=json.dumps(variants))
    )
    shown = [(source, f"before: {size(source)}")]
    for name, variant in image["variants"].items():
        after = fetched(service, variant["output_url"])
        shown.append((after, f"fit={name}: {size(after)}"))
    write("how-to-thumbnails.jpg", shown)


def watermark(service: Service, origin: Origin) -> None:
    source = render_photo("lamp", 1, (1000, 1000))
    url = origin.serve("/lamp.jpg", saved(source, "JPEG", quality=92))
    logo = Image.new("RGBA", (420, 120))
    draw = ImageDraw.Draw(logo)
    draw.rounded_rectangle((0, 0, 419, 119), 24, fill=(20, 20, 20, 255))
    draw.text((210, 60), "My Shop", fill="white", font=font(72), anchor="mm")
    mark = origin.serve("/logo.png", saved(logo, "PNG"))
    (image,) = products(
        service,
        service.accepted(
            row(1, "Lamp", url),
            watermark_url=mark,
            watermark_position="southeast",
            watermark_opacity="0.4",
        ),
    )
    after = fetched(service, image["output_url"])
    write("how-to-watermark.jpg", [(source, "before"), (after, "after")])


def names(service: Service, origin: Origin) -> None:
    """The files of the ZIP, named by SKU."""
    rows = ["Handle,Title,Image Src\n"]
    for sku, product, number in (("MUG-07", "mug", 1), ("MUG-07", "mug", 2), ("JAR-12", "jar", 1)):
        photo = saved(render_photo(product, number, (600, 600)), "JPEG", quality=92)
        url = origin.serve(f"/IMG_{len(rows):04}.jpg", photo)
        rows.append(f"{sku},{product.title()},{url}\n")
    request_id = service.accepted("".join(rows), names="{key}-{position}")
    service.ended(request_id)
    archive = service.http.get(f"/api/archive/{request_id}")
    archive.raise_for_status()
    with zipfile.ZipFile(io.BytesIO(archive.content)) as files:
        shown = [(Image.open(io.BytesIO(files.read(name))), name) for name in files.namelist()]
    write("how-to-names.jpg", shown)


def palettes() -> None:
    """Cut-outs as PNG of quality 50, magnified: the source, halftone's and Pillow's palette."""
    parts = [
        (render_cutout(name, 1, (900, 900)), corner)
        for name, corner in (
            ("mug", (400, 290)),
            ("bottle", (370, 330)),
            ("vase", (360, 350)),
            ("ball", (360, 330)),
        )
    ]
    parts.append((_soft_shadow(), (490, 490)))
    width, height = _PART[0] * _TIMES, _PART[1] * _TIMES
    sheet = Image.new("RGB", (3 * width, 2 * TEXT_PIXELS + len(parts) * height), GROUND)
    draw = ImageDraw.Draw(sheet)
    for at, name in enumerate(("source", "halftone", "Pillow, octree")):
        middle = (at * width + width / 2, TEXT_PIXELS)
        draw.text(middle, name, fill=INK, font=font(TEXT_PIXELS), anchor="mm")
    for number, (source, (left, upper)) in enumerate(parts):
        png = saved(source, "PNG")
        ours = compress(png, ImageOptions(), CodecLimits()).data or png
        octree = source.quantize(256, Image.Quantize.FASTOCTREE)
        for at, shown in enumerate((source, Image.open(io.BytesIO(ours)), octree)):
            part = shown.convert("RGBA").crop((left, upper, left + _PART[0], upper + _PART[1]))
            white = Image.new("RGBA", _PART, "white")
            white.alpha_composite(part)
            large = white.convert("RGB").resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(large, (at * width, 2 * TEXT_PIXELS + number * height))
    sheet.save(FOLDER / "png-palettes.jpg", quality=88)


def _soft_shadow() -> Image.Image:
    """An orange disc above its wide, soft shadow."""
    shadow = Image.new("L", (900, 900))
    ImageDraw.Draw(shadow).ellipse((250, 250, 690, 690), fill=200)
    picture = Image.new("RGBA", shadow.size, (40, 50, 80))
    picture.putalpha(shadow.filter(ImageFilter.GaussianBlur(70)))
    ImageDraw.Draw(picture).ellipse((220, 220, 560, 560), fill=(222, 92, 30, 255))
    return picture


def row(serial: int, name: str, url: str) -> str:
    return f"{HEADER}{serial},{name},{url}\n"


def products(service: Service, request_id: str) -> list[dict[str, Any]]:
    """The images of the request's first product."""
    service.ended(request_id)
    details = service.http.get(f"/api/details/{request_id}").raise_for_status().json()
    images: list[dict[str, Any]] = details["products"][0]["images"]
    return images


def fetched(service: Service, url: str) -> Image.Image:
    response = httpx.get(url)
    response.raise_for_status()
    return Image.open(io.BytesIO(response.content)).convert("RGB")


def saved(image: Image.Image, kind: str, **how: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def checkered(image: Image.Image) -> Image.Image:
    """The image on the squares that stand for transparency."""
    ground = Image.new("RGB", image.size, (255, 255, 255))
    draw = ImageDraw.Draw(ground)
    step = image.width // 24
    for x in range(0, image.width, step):
        for y in range(step * ((x // step) % 2), image.height, 2 * step):
            draw.rectangle((x, y, x + step - 1, y + step - 1), fill=(214, 217, 222))
    ground.paste(image, mask=image.getchannel("A"))
    return ground


def write(name: str, shown: Sequence[Shown]) -> None:
    """Put the images side by side, none wider or higher than SIDE, each with its text below."""
    width = len(shown) * (SIDE + GAP) + GAP
    sheet = Image.new("RGB", (width, SIDE + 3 * GAP + TEXT_PIXELS), GROUND)
    draw = ImageDraw.Draw(sheet)
    for at, (image, text) in enumerate(shown):
        small = image.convert("RGB")
        small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        left = GAP + at * (SIDE + GAP)
        sheet.paste(small, (left + (SIDE - small.width) // 2, GAP + (SIDE - small.height) // 2))
        middle = left + SIDE // 2
        draw.text((middle, SIDE + 2 * GAP), text, fill=INK, font=font(TEXT_PIXELS), anchor="mt")
    sheet.save(FOLDER / name, quality=82, optimize=True)
    print(name, (FOLDER / name).stat().st_size, "bytes")


def size(image: Image.Image) -> str:
    return f"{image.width} x {image.height}"


def font(pixels: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(pixels)


if __name__ == "__main__":
    main()
