"""Values that image options are made of: crops, colours, filters, name templates. Pure.

Each is parsed from the text in a form, and str() gives that text again.
"""

import re
import string
from dataclasses import dataclass

from halftone_shared.model.option_kinds import finite_number
from halftone_shared.model.urls import url_problem

MAX_SIDE = 16_384
MAX_TEMPLATE_CHARACTERS = 200
NAME_FIELDS = ("key", "name", "serial", "position", "original", "variant")

# The bounds of each filter's amount; None for a filter without an amount.
FILTERS: dict[str, tuple[float, float] | None] = {
    "grayscale": None,
    "sharpen": None,
    "blur": (0, 50),
    "brightness": (0, 4),
    "contrast": (0, 4),
    "saturation": (0, 4),
    "autocontrast": None,
}


@dataclass(frozen=True)
class Crop:
    """A rectangle: `x`, `y` of its corner and its size, in pixels, or in per cent of the image."""

    x: float
    y: float
    width: float
    height: float
    percent: bool = False

    def __str__(self) -> str:
        unit = "%" if self.percent else ""
        return ",".join(f"{side:g}{unit}" for side in (self.x, self.y, self.width, self.height))

    def box(self, image_width: int, image_height: int) -> tuple[int, int, int, int]:
        """Left, upper, right and lower edge in pixels, inside the image, at least a pixel apart."""
        across, down = (image_width / 100, image_height / 100) if self.percent else (1.0, 1.0)
        left = min(round(self.x * across), image_width - 1)
        upper = min(round(self.y * down), image_height - 1)
        right = min(max(round((self.x + self.width) * across), left + 1), image_width)
        lower = min(max(round((self.y + self.height) * down), upper + 1), image_height)
        return left, upper, right, lower


def parse_crop(text: str) -> Crop:
    """`x,y,width,height`: all in pixels, or all with a per cent sign. Raises ValueError."""
    parts = [part.strip() for part in text.split(",")]
    percent = all(part.endswith("%") for part in parts)
    sides = [finite_number(part.removesuffix("%") if percent else part) for part in parts]
    if len(sides) != 4:
        raise ValueError("it has four parts")
    x, y, width, height = sides
    if x is None or y is None or width is None or height is None:
        raise ValueError("its parts are numbers, all of them in pixels or all in per cent")
    most = 100 if percent else 1_000_000
    if not (0 <= x <= most and 0 <= y <= most and 0 < width <= most and 0 < height <= most):
        raise ValueError("it begins inside the image and has a size above 0")
    if not percent and any(side != int(side) for side in (x, y, width, height)):
        raise ValueError("pixels are whole numbers")
    return Crop(x, y, width, height, percent)


@dataclass(frozen=True)
class Filter:
    """A filter: its name in FILTERS, and its amount if it takes one."""

    name: str
    amount: float | None = None

    def __str__(self) -> str:
        return self.name if self.amount is None else f"{self.name}:{self.amount:g}"


def parse_filter(text: str) -> Filter:
    """`grayscale`, `blur:2`, `contrast:1.2` and the like. Raises ValueError."""
    name, colon, amount_text = (part.strip() for part in text.partition(":"))
    if name not in FILTERS:
        raise ValueError(f"there is no filter {name[:40]!r}")
    bounds = FILTERS[name]
    if bounds is None:
        if colon:
            raise ValueError(f"{name} takes no amount")
        return Filter(name)
    least, most = bounds
    amount = finite_number(amount_text)
    too_small = amount is None or amount < least or (name == "blur" and amount == 0)
    if amount is None or too_small or amount > most:
        above = "above 0 and" if name == "blur" else f"from {least:g},"
        raise ValueError(f"{name} takes a number {above} at most {most:g}, as in {name}:1.5")
    return Filter(name, amount)


@dataclass(frozen=True)
class Colour:
    """Red, green and blue from 0 to 255; None for `transparent`."""

    rgb: tuple[int, int, int] | None

    def __str__(self) -> str:
        return "transparent" if self.rgb is None else "#{:02x}{:02x}{:02x}".format(*self.rgb)


WHITE = Colour((255, 255, 255))


def parse_colour(text: str) -> Colour:
    """A CSS colour name, `#rgb`, `#rrggbb` or `transparent`. Raises ValueError."""
    lowered = text.lower()
    if lowered == "transparent":
        return Colour(None)
    if re.fullmatch(r"#[0-9a-f]{3}", lowered):
        lowered = "#" + "".join(2 * digit for digit in lowered[1:])
    if re.fullmatch(r"#[0-9a-f]{6}", lowered):
        return Colour((int(lowered[1:3], 16), int(lowered[3:5], 16), int(lowered[5:7], 16)))
    import webcolors  # imported only for colour names: stored colours are #rrggbb

    red, green, blue = webcolors.name_to_rgb(lowered)
    return Colour((red, green, blue))


def parse_url(text: str) -> str:
    """An http(s) URL. Raises ValueError."""
    if problem := url_problem(text):
        raise ValueError(problem)
    return text


def parse_name_template(text: str) -> str:
    """A file name with fields in braces, such as `{key}-{position}`. Raises ValueError."""
    if not text or len(text) > MAX_TEMPLATE_CHARACTERS:
        raise ValueError(f"it has 1 to {MAX_TEMPLATE_CHARACTERS} characters")
    if "/" in text or "\\" in text:
        raise ValueError("it has no / and no \\")
    fields = []
    for literal, field, spec, conversion in string.Formatter().parse(text):
        if any(not character.isprintable() for character in literal):
            raise ValueError("it has no control characters")
        if field is not None:
            fields.append(field)
            if field not in NAME_FIELDS or spec or conversion:
                known = ", ".join(f"{{{name}}}" for name in NAME_FIELDS)
                raise ValueError(f"its fields are {known}")
    if not fields:
        raise ValueError("it has at least one field, such as {key} or {position}")
    return text


def parse_word(text: str) -> str:
    """A lower-case name of letters, digits, - and _, at most 32 characters. Raises ValueError."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", text):
        raise ValueError("it has 1 to 32 lower-case letters, digits, - and _")
    return text
