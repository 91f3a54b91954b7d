"""Image options: the one declaration of each.

Each field of ImageOptions is an option. Its declaration (kind, bounds, default, modes, meaning)
defines it in the upload form, OpenAPI, /docs, the status object, the protocol to the codec
processes, `halftone submit`, the Python library and docs/reference/options.md. To add an option,
declare it here and use it in the codec.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Self

from halftone_shared.model.image_formats import WRITTEN, Format
from halftone_shared.model.option_kinds import (
    BadValue,
    Choice,
    Flag,
    JsonSchema,
    Kind,
    Listed,
    Number,
    Text,
    Whole,
)
from halftone_shared.model.option_values import (
    FILTERS,
    MAX_SIDE,
    NAME_FIELDS,
    WHITE,
    Colour,
    Crop,
    Filter,
    parse_colour,
    parse_crop,
    parse_filter,
    parse_name_template,
    parse_url,
    parse_word,
)
from halftone_shared.model.stored_json import StoredJson

MAX_VARIANTS = 10
# The `format` that keeps the format of the input.
KEEP = "keep"


class Mode(StrEnum):
    """What decides the loss: the encoder's quality, the size, the bytes, or a visible quality."""

    QUALITY = "quality"
    SCALE = "scale"
    BYTES = "bytes"
    VISUAL = "visual"


class Effort(StrEnum):
    """How much processor time an image may take to get smaller at the same quality."""

    FAST = "fast"
    BALANCED = "balanced"
    BEST = "best"


class Fit(StrEnum):
    """How an image fits a box: inside it, inside it on a background, or covering it."""

    INSIDE = "inside"
    PAD = "pad"
    COVER = "cover"


class Gravity(StrEnum):
    """Which part of an image is kept; `attention` is where the picture has most detail."""

    CENTER = "center"
    NORTH = "north"
    NORTHEAST = "northeast"
    EAST = "east"
    SOUTHEAST = "southeast"
    SOUTH = "south"
    SOUTHWEST = "southwest"
    WEST = "west"
    NORTHWEST = "northwest"
    ATTENTION = "attention"


class InvalidOption(Exception):
    """An option that cannot be used. `option` is its name; `reason` completes a sentence."""

    def __init__(self, option: str, reason: str) -> None:
        super().__init__(f"{option}: {reason}")
        self.option = option
        self.reason = reason


class UnknownOption(Exception):
    """A stored option or value from a newer version."""

    def __init__(self, option: str) -> None:
        super().__init__(f"The option {option!r} is newer than this version.")
        self.option = option


@dataclass(frozen=True)
class Option:
    """The declaration of an option.

    `modes`: the modes that take it; None for all. `default_by_mode`: defaults other than the
    field's own. `shown`: the status object shows it even at its default. `in_variants`: a variant
    can have its own. `needs`: the option without which it has no effect.
    """

    kind: Kind
    meaning: str
    modes: frozenset[Mode] | None = None
    default_by_mode: Mapping[Mode, Any] = field(default_factory=dict)
    shown: bool = False
    in_variants: bool = True
    needs: str | None = None

    def belongs_to(self, mode: Mode) -> bool:
        return self.modes is None or mode in self.modes

    @property
    def schema(self) -> JsonSchema:
        return {**self.kind.schema, "description": self.meaning}


def _option(default: Any, kind: Kind, meaning: str, **more: Any) -> Any:
    return field(default=default, metadata={"option": Option(kind, meaning, **more)})


@dataclass(frozen=True)
class OutputFormatKind:
    """A format that halftone writes, in lower case, or `keep`, which is read as None."""

    @property
    def words(self) -> list[str]:
        return [KEEP, *(form.lower() for form in WRITTEN)]

    @property
    def expected(self) -> str:
        return "one of " + ", ".join(self.words)

    @property
    def schema(self) -> JsonSchema:
        return {"type": "string", "enum": self.words}

    def read(self, value: object) -> Format | None:
        word = str(value)
        if word not in self.words:
            raise BadValue(value, self.expected)
        return None if word == KEEP else Format(word.upper())

    def write(self, value: Format | None) -> str:
        return KEEP if value is None else value.lower()


@dataclass(frozen=True)
class VariantsKind:
    """A JSON array of further outputs, each with its own name and options."""

    @property
    def expected(self) -> str:
        return (
            f'a JSON array of at most {MAX_VARIANTS} objects with a "name" and image options,'
            ' like [{"name": "thumb", "width": 200}]'
        )

    @property
    def schema(self) -> JsonSchema:
        properties = {
            name: option.schema for name, option in IMAGE_OPTIONS.items() if option.in_variants
        }
        name = {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,31}$"}
        item = {
            "type": "object",
            "properties": {"name": name, **properties},
            "required": ["name"],
            "additionalProperties": False,
        }
        return {"type": "array", "items": item, "maxItems": MAX_VARIANTS}

    def read(self, value: object) -> "tuple[Variant, ...]":
        """The variants with their own options only; `parse_options` adds the request's options."""
        return tuple(Variant(name, _read_options(given)) for name, given in self.read_fields(value))

    def read_fields(self, value: object) -> list[tuple[str, dict[str, Any]]]:
        """The name and the options of each, the options as they are written. Raises BadValue."""
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                raise BadValue(value, self.expected) from None
        if not isinstance(value, list) or len(value) > MAX_VARIANTS:
            raise BadValue(value, self.expected)
        found: list[tuple[str, dict[str, Any]]] = []
        for given in value:
            if not isinstance(given, dict) or not isinstance(given.get("name"), str):
                raise BadValue(given, 'an object with a "name"')
            name = _VARIANT_NAME.read(given["name"])
            if name in (other for other, _ in found):
                raise BadValue(given, f"unique: there are two variants {name!r}")
            found.append((name, {key: item for key, item in given.items() if key != "name"}))
        return found

    def write(self, value: "tuple[Variant, ...]") -> list[dict[str, Any]]:
        return [{"name": one.name, **one.options.to_json()} for one in value]


_VARIANT_NAME = Text("the name of a variant", parse_word, "thumb")


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """The options of one output. The defaults apply to an upload without options.

    Hashable, so that a worker serialises them for the codec processes once per request.
    """

    mode: Mode = _option(
        Mode.QUALITY,
        Choice(Mode),
        "How the image gets smaller: by the encoder's quality (`quality`), by smaller sides"
        " (`scale`), to a share of its bytes (`bytes`), or to a visible quality (`visual`).",
        shown=True,
    )
    scale: float = _option(
        0.5,
        Number(0, 1),
        "With `mode=scale`: the factor for both sides.",
        modes=frozenset({Mode.SCALE}),
        shown=True,
    )
    ratio: float = _option(
        0.5,
        Number(0, 1),
        "With `mode=bytes`: the output has at most this share of the input's bytes.",
        modes=frozenset({Mode.BYTES}),
        shown=True,
    )
    target: int = _option(
        70,
        Whole(30, 95),
        "With `mode=visual`: the SSIMULACRA2 score that the output reaches, with as few bytes as"
        " possible."
        " 70 is high quality, 90 is visually lossless.",
        modes=frozenset({Mode.VISUAL}),
        shown=True,
    )
    quality: int = _option(
        50,
        Whole(1, 95),
        "The quality of the JPEG, WebP or AVIF encoder, and of PNG and GIF palettes.",
        modes=frozenset({Mode.QUALITY, Mode.SCALE}),
        default_by_mode={Mode.SCALE: 80},
        shown=True,
    )
    # None is `keep`.
    format: Format | None = _option(
        None,
        OutputFormatKind(),
        "The output format. `keep`: the input's format, or JPEG if halftone cannot write it.",
        shown=True,
    )
    effort: Effort = _option(
        Effort.BALANCED,
        Choice(Effort),
        "How much processor time to spend: `best` makes the smallest files of the same quality,"
        " `fast` is the fastest.",
    )
    max_bytes: int | None = _option(
        None,
        Whole(1000),
        "The most bytes that an output may have. The quality is lowered until it fits.",
    )
    crop: Crop | None = _option(
        None,
        Text(
            "x,y,width,height in pixels or, each with a % sign, in per cent",
            parse_crop,
            "10%,10%,80%,80%",
        ),
        "Keep this rectangle, `x,y,width,height` in pixels or per cent, before all other steps.",
    )
    trim: int | None = _option(
        None,
        Whole(0, 100),
        "Cut off a border of one colour. The colour may vary by this many of 255 levels.",
    )
    width: int | None = _option(
        None, Whole(1, MAX_SIDE), "The width in pixels of the box that `fit` refers to."
    )
    height: int | None = _option(
        None, Whole(1, MAX_SIDE), "The height in pixels of the box that `fit` refers to."
    )
    fit: Fit = _option(
        Fit.INSIDE,
        Choice(Fit),
        "How the image fits the box of `width` and `height`: `inside` it, on a background that"
        " fills the box (`pad`), or over the whole box and cut by `gravity` (`cover`).",
    )
    gravity: Gravity = _option(Gravity.CENTER, Choice(Gravity), "The part that `fit=cover` keeps.")
    enlarge: bool = _option(
        False, Flag(), "Enlarge images that are smaller than `width` and `height`."
    )
    background: Colour = _option(
        WHITE,
        Text("a colour name, #rrggbb or transparent", parse_colour, "#ffffff"),
        "The colour that `fit=pad` adds. It also replaces transparency if the format has none.",
    )
    filters: tuple[Filter, ...] = _option(
        (),
        Listed(Text("a filter", parse_filter, "sharpen"), "a list of filters", 20),
        "Filters, applied in this order: "
        + ", ".join(
            f"`{name}`" if bounds is None else f"`{name}:N`" for name, bounds in FILTERS.items()
        )
        + ".",
    )
    watermark_url: str | None = _option(
        None, Text("an http(s) URL", parse_url), "The URL of an image that is put on every output."
    )
    watermark_position: Gravity = _option(
        Gravity.SOUTHEAST,
        Choice(Gravity),
        "Where the watermark is placed.",
        needs="watermark_url",
    )
    watermark_opacity: float = _option(
        0.5,
        Number(0, 1),
        "The opacity of the watermark; 1 is opaque.",
        needs="watermark_url",
    )
    variants: "tuple[Variant, ...]" = _option(
        (),
        VariantsKind(),
        "Further outputs of each image: a JSON array of objects with a `name` and image options. A"
        " variant takes over the request's other options, except those of size.",
        in_variants=False,
    )
    preset: str | None = _option(
        None,
        Text("the name of a preset", parse_word, "google-merchant"),
        "The options and rules of a marketplace. Other options in the upload have precedence.",
        in_variants=False,
    )
    names: str | None = _option(
        None,
        Text("a file name with fields in braces", parse_name_template, "{key}-{position}"),
        "The output's file name without its extension, made of "
        + ", ".join(f"`{{{name}}}`" for name in NAME_FIELDS)
        + ".",
        in_variants=False,
    )

    def to_json(self) -> StoredJson:
        """The mode's options, and all others that differ from their defaults, in order."""
        written = {}
        for name, option in IMAGE_OPTIONS.items():
            value = getattr(self, name)
            if option.belongs_to(self.mode) and (option.shown or value != _DEFAULTS[name]):
                written[name] = option.kind.write(value)
        return written

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Read the options that `to_json` wrote. Raises UnknownOption for options of a newer
        version.
        """
        for name in stored:
            if name not in IMAGE_OPTIONS:
                raise UnknownOption(name)
        try:
            return cls(
                **{name: IMAGE_OPTIONS[name].kind.read(given) for name, given in stored.items()}
            )
        except BadValue as error:
            raise UnknownOption(str(error)) from None
        except InvalidOption as error:
            raise UnknownOption(error.option) from None

    @property
    def outputs(self) -> "tuple[Variant, ...]":
        """Every output of an image: the main one, with an empty name, and the variants."""
        main = replace(self, variants=()) if self.variants else self
        return (Variant("", main), *self.variants)


@dataclass(frozen=True)
class Variant:
    """A further output of each image: its name and its options."""

    name: str
    options: ImageOptions


IMAGE_OPTIONS: Mapping[str, Option] = {
    one.name: one.metadata["option"] for one in fields(ImageOptions)
}
_DEFAULTS: Mapping[str, Any] = {one.name: one.default for one in fields(ImageOptions)}

# Options that a variant does not inherit from its request.
_OF_THE_MAIN_OUTPUT = frozenset({"width", "height", "fit", "enlarge", "scale", "preset", "names"})


def default_of(name: str, mode: Mode = Mode.QUALITY) -> Any:
    """The default of an option in a mode, as JSON; None if it has none."""
    option = IMAGE_OPTIONS[name]
    default = option.default_by_mode.get(mode, _DEFAULTS[name])
    is_unset = default in (None, ()) and not option.shown
    return None if is_unset else option.kind.write(default)


def default_text(name: str) -> str | None:
    """The default of an option for people, in Markdown: "`50`, `80` with `mode=scale`"."""
    default = default_of(name)
    if default is None:
        return None
    shown = f"`{str(default).lower() if isinstance(default, bool) else default}`"
    by_mode = IMAGE_OPTIONS[name].default_by_mode.items()
    return ", ".join([shown, *(f"`{value}` with `mode={mode}`" for mode, value in by_mode)])


def parse_options(
    given: Mapping[str, Any], preset: Mapping[str, Any] | None = None
) -> ImageOptions:
    """Parse the options of a form, given as texts by name. `preset` has the options of a preset.

    Raises InvalidOption for an unknown name, a value out of bounds, an option that the mode does
    not take, and contradictory options.
    """
    combined = _over(
        preset or {}, {name: value for name, value in given.items() if name != "variants"}
    )
    options = _read_options(combined)
    if "variants" not in given:
        return options
    kind = IMAGE_OPTIONS["variants"].kind
    assert isinstance(kind, VariantsKind)  # noqa: S101 - declared above
    try:
        named = kind.read_fields(given["variants"])
    except BadValue as error:
        raise InvalidOption("variants", str(error)) from None
    return replace(options, variants=tuple(_variant(combined, *one) for one in named))


def _variant(request: Mapping[str, Any], name: str, own: Mapping[str, Any]) -> Variant:
    shared = {key: value for key, value in request.items() if key not in _OF_THE_MAIN_OUTPUT}
    if shared.get("mode") == Mode.SCALE:
        del shared["mode"]
    try:
        for key in own:
            if key in IMAGE_OPTIONS and not IMAGE_OPTIONS[key].in_variants:
                raise InvalidOption(key, "it belongs to the request, not to a variant")
        return Variant(name, _read_options(_over(shared, own)))
    except InvalidOption as error:
        raise InvalidOption("variants", f"{name!r}: {error.option}: {error.reason}") from None


def _over(under: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """`own` merged over `under`, without options of `under` that the mode of `own` does not
    take.
    """
    if "mode" not in own:
        return {**under, **own}
    fitting = {
        name: value
        for name, value in under.items()
        if name not in IMAGE_OPTIONS or IMAGE_OPTIONS[name].modes is None
    }
    return {**fitting, **own}


def _read_options(given: Mapping[str, Any]) -> ImageOptions:
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in IMAGE_OPTIONS:
            raise InvalidOption(name, "there is no such option")
        try:
            values[name] = IMAGE_OPTIONS[name].kind.read(value)
        except BadValue as error:
            raise InvalidOption(name, str(error)) from None
    mode = values.get("mode", _DEFAULTS["mode"])
    for name, option in IMAGE_OPTIONS.items():
        if name in values and not option.belongs_to(mode):
            raise InvalidOption(name, f"mode={mode} has no {name}")
        if name in values and option.needs and option.needs not in values:
            raise InvalidOption(name, f"it has no effect without {option.needs}")
        if name not in values and mode in option.default_by_mode:
            values[name] = option.default_by_mode[mode]
    options = ImageOptions(**values)
    if options.fit is not Fit.INSIDE and (options.width is None or options.height is None):
        raise InvalidOption("fit", f"fit={options.fit} takes both width and height")
    return options
