"""Presets of marketplaces: options and rules, one TOML file each, with the date and the sources.

Marketplaces change their rules. To change or add a marketplace, edit only its file: no code depends
on a marketplace. `Preset.options` are defaults of an upload (`parse_options(given, preset=…)`). The
codec measures each main output and calls `check_image`. `contradictions` gives the upload's
warnings.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from halftone_shared.model.options import Fit, ImageOptions, Mode
from halftone_shared.model.results import Check


class RuleKind(StrEnum):
    """What a rule is about. The value's unit: pixels, bytes, megapixels, or a share of 1."""

    MIN_SIDES = "min_sides"
    MIN_LONGEST_SIDE = "min_longest_side"
    MAX_LONGEST_SIDE = "max_longest_side"
    MAX_SUM_OF_SIDES = "max_sum_of_sides"
    MAX_MEGAPIXELS = "max_megapixels"
    MAX_BYTES = "max_bytes"
    FORMATS = "formats"
    SQUARE = "square"
    WHITE_BACKGROUND = "white_background"
    MIN_PRODUCT_SHARE = "min_product_share"
    MAX_PRODUCT_SHARE = "max_product_share"
    SRGB = "srgb"
    MIN_QUALITY = "min_quality"


@dataclass(frozen=True)
class Rule:
    """A rule of a marketplace. `level`: `fail` for a condition, `warn` for advice.

    `enforced_from`: before that day, a breach is a warning.
    """

    name: str
    kind: RuleKind
    source: str
    value: float = 1
    formats: tuple[str, ...] = ()
    level: str = "fail"
    enforced_from: date | None = None

    def level_on(self, today: date) -> str:
        is_early = self.enforced_from is not None and today < self.enforced_from
        return "warn" if is_early else self.level


@dataclass(frozen=True)
class Preset:
    """A marketplace: its `options` by name, as a form sends them, and its `rules`. `as_of`: the day
    they were read.

    `fill`: the largest share of the frame that the picture fills with `fit=pad`.
    """

    name: str
    title: str
    as_of: date
    sources: tuple[str, ...]
    options: Mapping[str, Any]
    rules: tuple[Rule, ...]
    fill: float = 1.0

    def rule(self, kind: RuleKind) -> Rule | None:
        """The strictest condition of a kind; its advice if there is no condition."""
        found = [rule for rule in self.rules if rule.kind is kind]
        return next((rule for rule in found if rule.level == "fail"), found[0] if found else None)

    @property
    def min_sides(self) -> int:
        """Width and height that no image may be made smaller than; 1 if there is no rule."""
        return max((int(r.value) for r in self._conditions(RuleKind.MIN_SIDES)), default=1)

    @property
    def min_longest_side(self) -> int:
        return max((int(r.value) for r in self._conditions(RuleKind.MIN_LONGEST_SIDE)), default=1)

    def _conditions(self, kind: RuleKind) -> list[Rule]:
        return [rule for rule in self.rules if rule.kind is kind and rule.level == "fail"]


@cache
def load_presets() -> Mapping[str, Preset]:
    """All presets by name, sorted by name. Raises ValueError for an invalid file."""
    folder = files(__package__)
    found = [one for one in folder.iterdir() if one.name.endswith(".toml")]
    presets = [read_preset(one.name.removesuffix(".toml"), one.read_text()) for one in found]
    return MappingProxyType({one.name: one for one in sorted(presets, key=lambda one: one.name)})


def read_preset(name: str, text: str) -> Preset:
    """Read a preset from its file's text. Raises ValueError naming the preset."""
    stored = tomllib.loads(text)
    try:
        rules = tuple(
            Rule(
                **rule | {"kind": RuleKind(rule["kind"]), "formats": tuple(rule.get("formats", ()))}
            )
            for rule in stored["rules"]
        )
        return Preset(
            name, stored["title"], stored["as_of"], tuple(stored["sources"]),
            MappingProxyType(stored["options"]), rules, stored.get("fill", 1.0),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"The preset {name!r} is wrong: {error}.") from error


# --- checks ---


@dataclass(frozen=True)
class Measured:
    """The measurements of an output.

    `white_share`: the share of its outermost pixels that are white, 0–1. `product_share`: the
    larger of the shares of width and height inside a border of one colour; None without such a
    border. `quality`: the encoder's, or that of a kept JPEG's tables; None if another original was
    kept.
    """

    width: int
    height: int
    bytes: int
    format: str
    is_srgb: bool
    white_share: float
    product_share: float | None
    quality: int | None = None


def check_image(measured: Measured, preset: Preset, today: date) -> tuple[Check, ...]:
    """A check for each rule, with the figures: `pass`, `warn` or `fail`.

    A rule that could not be measured gives `warn`: a person has to look. Pure.
    """
    return tuple(_checked(measured, rule, today) for rule in preset.rules)


def _checked(measured: Measured, rule: Rule, today: date) -> Check:
    is_kept, message = _JUDGES[rule.kind](measured, rule)
    if is_kept is None:
        return Check(rule.name, "warn", message)
    if is_kept:
        return Check(rule.name, "pass", message)
    level = rule.level_on(today)
    if rule.enforced_from is not None and level == "warn" and rule.level == "fail":
        message += f" Enforced from {rule.enforced_from.isoformat()}."
    return Check(rule.name, level, message)


# Whether the image keeps the rule (None: it could not be measured), and the figures as a sentence.
Judgement = tuple[bool | None, str]


def _min_sides(measured: Measured, rule: Rule) -> Judgement:
    least = int(rule.value)
    size = f"{measured.width} × {measured.height} pixels"
    is_kept = min(measured.width, measured.height) >= least
    return is_kept, f"It has {size}; at least {least} × {least} are wanted."


def _min_longest_side(measured: Measured, rule: Rule) -> Judgement:
    longest = max(measured.width, measured.height)
    message = f"Its longest side has {longest} pixels; at least {int(rule.value)} are wanted."
    return longest >= rule.value, message


def _max_longest_side(measured: Measured, rule: Rule) -> Judgement:
    longest = max(measured.width, measured.height)
    message = f"Its longest side has {longest} pixels; at most {int(rule.value)} are allowed."
    return longest <= rule.value, message


def _max_sum_of_sides(measured: Measured, rule: Rule) -> Judgement:
    total = measured.width + measured.height
    message = f"Width and height are {total} pixels together; {int(rule.value)} are allowed."
    return total <= rule.value, message


def _max_megapixels(measured: Measured, rule: Rule) -> Judgement:
    megapixels = measured.width * measured.height / 1e6
    message = f"It has {megapixels:.1f} megapixels; at most {rule.value:g} are allowed."
    return megapixels <= rule.value, message


def _max_bytes(measured: Measured, rule: Rule) -> Judgement:
    message = f"It has {measured.bytes} bytes; at most {int(rule.value)} are allowed."
    return measured.bytes <= rule.value, message


def _formats(measured: Measured, rule: Rule) -> Judgement:
    known = ", ".join(rule.formats)
    return measured.format in rule.formats, f"It is a {measured.format}; taken are {known}."


def _square(measured: Measured, _: Rule) -> Judgement:
    message = f"It has {measured.width} × {measured.height} pixels; a square is wanted."
    return measured.width == measured.height, message


def _white_background(measured: Measured, rule: Rule) -> Judgement:
    message = (
        f"{measured.white_share:.0%} of its edge are pure white; at least {rule.value:.0%} are"
        " wanted."
    )
    return measured.white_share >= rule.value, message


def _min_product_share(measured: Measured, rule: Rule) -> Judgement:
    return _product_share(measured, rule, is_least=True)


def _max_product_share(measured: Measured, rule: Rule) -> Judgement:
    return _product_share(measured, rule, is_least=False)


def _product_share(measured: Measured, rule: Rule, *, is_least: bool) -> Judgement:
    share, word = measured.product_share, "at least" if is_least else "at most"
    if share is None:
        wanted = f"{word} {rule.value:.0%} of the frame is wanted"
        return None, f"Not measured, because the background is not of one colour; {wanted}."
    message = f"The product fills {share:.0%} of the frame; {word} {rule.value:.0%} are wanted."
    return (share >= rule.value) if is_least else (share <= rule.value), message


def _srgb(measured: Measured, _: Rule) -> Judgement:
    is_srgb = measured.is_srgb
    return is_srgb, "It is in sRGB." if is_srgb else "It is in another colour space than sRGB."


def _min_quality(measured: Measured, rule: Rule) -> Judgement:
    wanted = f"at least {int(rule.value)} is advised"
    if measured.quality is None:
        kept = f"the original was kept as {measured.format}, which does not tell its quality"
        return None, f"Not measured, because {kept}; {wanted}."
    return measured.quality >= rule.value, f"Its quality is {measured.quality}; {wanted}."


_JUDGES: dict[RuleKind, Callable[[Measured, Rule], Judgement]] = {
    RuleKind.MIN_SIDES: _min_sides,
    RuleKind.MIN_LONGEST_SIDE: _min_longest_side,
    RuleKind.MAX_LONGEST_SIDE: _max_longest_side,
    RuleKind.MAX_SUM_OF_SIDES: _max_sum_of_sides,
    RuleKind.MAX_MEGAPIXELS: _max_megapixels,
    RuleKind.MAX_BYTES: _max_bytes,
    RuleKind.FORMATS: _formats,
    RuleKind.SQUARE: _square,
    RuleKind.WHITE_BACKGROUND: _white_background,
    RuleKind.MIN_PRODUCT_SHARE: _min_product_share,
    RuleKind.MAX_PRODUCT_SHARE: _max_product_share,
    RuleKind.SRGB: _srgb,
    RuleKind.MIN_QUALITY: _min_quality,
}


def contradictions(options: ImageOptions, preset: Preset) -> tuple[str, ...]:
    """Warnings about options that break a rule for every image, as sentences."""
    found = []
    asked = max((side for side in (options.width, options.height) if side), default=None)
    if asked is not None and asked < max(preset.min_sides, preset.min_longest_side):
        least = max(preset.min_sides, preset.min_longest_side)
        found.append(f"{preset.title} wants at least {least} pixels; the options ask for {asked}.")
    formats = preset.rule(RuleKind.FORMATS)
    if formats is not None and options.format and options.format not in formats.formats:
        found.append(f"{preset.title} does not take {options.format}.")
    square = preset.rule(RuleKind.SQUARE)
    is_box = options.fit is not Fit.INSIDE and options.width != options.height
    if square is not None and (is_box or options.fit is Fit.INSIDE):
        found.append(f"{preset.title} wants squares; fit=pad or cover with equal sides makes them.")
    white = preset.rule(RuleKind.WHITE_BACKGROUND)
    if white is not None and options.background.rgb != (255, 255, 255):
        found.append(f"{preset.title} wants a white background; the options ask for another.")
    if options.mode is Mode.SCALE:
        found.append(
            f"mode=scale is not applied below the smallest size that {preset.title} takes."
        )
    quality = preset.rule(RuleKind.MIN_QUALITY)
    if quality is not None and options.mode is Mode.QUALITY and options.quality < quality.value:
        found.append(
            f"{preset.title} advises quality {int(quality.value)} or more; the options ask for"
            f" {options.quality}."
        )
    return tuple(found)
