"""Few colours that look like many: palettes for PNG and GIF, with dithering and alpha."""

from itertools import product

from PIL import Image, ImageChops, ImageStat

MAX_COLOURS = 256
# With this many colours or more, chosen well, the nearest one looks better than dithering, and takes fewer bytes.
DITHERED_BELOW = 128
# The palette is chosen on at most this many pixels a side: all of them choose hardly better.
_SAMPLE_SIDE = 600
# Of a palette for an image that is opaque here and clear there, the share that goes to what is neither.
_TRANSLUCENT_SHARE = 0.25
_OPAQUE = 255


def with_palette(image: Image.Image, colours: int) -> Image.Image:
    """At most `colours` colours, alpha kept. What has no more keeps each as it is; few colours are dithered.

    Takes 1, L, P, RGB and RGBA; gives 1, L (of fewer grays) or P.
    """
    if image.mode == "1":
        return image
    if image.mode in ("L", "P") and len(image.getcolors() or ()) <= colours:
        return image
    if image.mode == "L":  # stays gray, as its profile may be one of gray
        return _reduced(image.convert("RGB"), colours).convert("L")
    if image.mode == "P":
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (_OPAQUE, _OPAQUE):
        image = image.convert("RGB")
    if image.getcolors(colours) is not None:
        return _exact(image, colours)
    return _reduced(image, colours) if image.mode == "RGB" else _reduced_with_alpha(image, colours)


def with_clear_colour(image: Image.Image, colours: int) -> Image.Image:
    """At most `colours` colours, one of which is none at all where the alpha is below the half: what GIF can hold."""
    if not image.has_transparency_data:
        return with_palette(image, colours)
    image = image.convert("RGBA")
    clear = image.getchannel("A").point(lambda alpha: _OPAQUE * (alpha < 128))
    shown = image.convert("RGB")
    shown.paste(0, mask=clear)
    result = with_palette(shown, colours - 1)
    index = len(result.getpalette() or []) // 3
    result.paste(index, mask=clear)
    result.putpalette([*(result.getpalette() or [])[: 3 * index], 0, 0, 0])
    result.info["transparency"] = index
    return result


def _exact(image: Image.Image, colours: int) -> Image.Image:
    """An image of at most `colours` colours, with exactly these."""
    if image.mode == "RGB":
        return image.quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    # No quantiser of Pillow's takes RGBA and is exact. Number the colours first, then the pairs of number and alpha.
    numbered = image.convert("RGB").quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    rgb = numbered.getpalette() or []
    number = numbered.copy()
    number.putpalette([level for level in range(256) for _ in range(3)])
    pairs = Image.merge("RGB", (number.convert("L"), image.getchannel("A"), Image.new("L", image.size)))
    result = pairs.quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    palette = []
    told = result.getpalette() or []
    for at in range(0, len(told), 3):
        index, alpha = told[at : at + 2]
        palette += [*rgb[3 * index : 3 * index + 3], alpha]
    result.putpalette(palette, "RGBA")
    return result


def _dithered(image: Image.Image, colours: int) -> Image.Image:
    palette = image.quantize(colours, Image.Quantize.MEDIANCUT)
    return image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)


def _nearest(image: Image.Image, colours: int) -> Image.Image:
    """Each pixel in the nearest of the colours that fit the image best (k-means)."""
    sample = image.resize((min(image.width, _SAMPLE_SIDE), min(image.height, _SAMPLE_SIDE)), Image.Resampling.NEAREST)
    chosen = sample.quantize(colours, Image.Quantize.MEDIANCUT, kmeans=1)
    palette = chosen.getpalette() or []
    # Pillow finds the nearest colour for the lower corner of each cell of 4 × 4 × 4 levels. Searching for each half of
    # a cell, from its middle, is eight times as fine: the palette is moved instead of the image.
    upper_halves = [channel.point(lambda value: 255 * (value >> 1 & 1)) for channel in image.split()]
    result = None
    for halves in product((0, 1), repeat=3):
        chosen.putpalette([max(0, round(level - 0.5 - 2 * halves[at % 3])) for at, level in enumerate(palette)])
        found = image.quantize(palette=chosen, dither=Image.Dither.NONE)
        if result is None:
            result = found
            continue
        masks = [mask if half else ImageChops.invert(mask) for mask, half in zip(upper_halves, halves, strict=True)]
        result.paste(found, mask=ImageChops.multiply(ImageChops.multiply(masks[0], masks[1]), masks[2]))
    assert result is not None  # noqa: S101 - there are eight
    result.putpalette(palette)
    return result


def _reduced(image: Image.Image, colours: int) -> Image.Image:
    return _dithered(image, colours) if colours < DITHERED_BELOW else _nearest(image, colours)


def _reduced_with_alpha(image: Image.Image, colours: int) -> Image.Image:
    """What is opaque has a palette of its own; what is not, edges and shadows, has the rest with its alpha."""
    alpha = image.getchannel("A")
    opaque = alpha.point(lambda value: _OPAQUE * (value == _OPAQUE))
    if opaque.getbbox() is None:
        return image.quantize(colours, Image.Quantize.FASTOCTREE)
    seen_through = ImageChops.invert(opaque)
    others = image.copy()
    others.paste(0, mask=opaque)
    translucent = others.quantize(max(2, round(colours * _TRANSLUCENT_SHARE)), Image.Quantize.FASTOCTREE)
    entries = translucent.getpalette("RGBA") or []
    shown = image.convert("RGB")
    shown.paste(_mean_colour(shown, opaque), mask=seen_through)
    result = _reduced(shown, colours - len(entries) // 4)
    first = len(result.getpalette() or []) // 3
    result.paste(translucent.point([min(255, index + first) for index in range(256)]), mask=seen_through)
    palette = result.getpalette("RGBA") or []
    result.putpalette([*palette[: 4 * first], *entries], "RGBA")
    return result


def _mean_colour(image: Image.Image, mask: Image.Image) -> tuple[int, ...]:
    return tuple(round(channel) for channel in ImageStat.Stat(image, mask).mean)
