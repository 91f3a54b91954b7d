"""Palettes for PNG and GIF: reduces an image's colours, with dithering and alpha."""

from collections.abc import Sequence

from PIL import Image, ImageChops, ImageFilter, ImageStat

MAX_COLOURS = 256
# With DITHERED_BELOW well-chosen colours or more, mapping each pixel to the nearest colour looks
# better than dithering and takes fewer bytes. Smooth areas are the exception: there, an error of
# _SEEN_STEP levels or more shows as a band, so they are dithered.
DITHERED_BELOW, _SEEN_STEP = 128, 3
# Even: differs by at most 4 levels from the pixels 4 columns and 4 rows away. Smooth: more than
# 90 % of the pixels around it are even. Smooth pixels within 8 pixels of a visible error are
# dithered.
_SMOOTH_LEVELS, _SMOOTH_PIXELS, _SMOOTH_SHARE, _BAND_RADIUS = 4, 4, 0.9, 8
# In photographs, noise leaves less than this share of the pixels smooth; drawn or rendered images
# have more.
_DRAWN_SHARE = 0.05
# k-means ends when a round moves at most this share of the pixels: all further rounds together gain
# 0.0003 of SSIM.
_MOVED_SHARE = 0.01
# Weights of red, green and blue, roughly by their share of lightness, where errors are most
# visible. A palette of only some dozen colours needs equal weights.
_WEIGHTS, _EQUAL_WEIGHTS = (0.5, 1.0, 0.25), (1.0, 1.0, 1.0)
# The same limit for the opaque and the translucent part of an image with alpha. Each part may be a
# small share of the pixels.
_OPAQUE_MOVED_SHARE, _TRANSLUCENT_MOVED_SHARE = 0.003, 0.001
# Translucent pixels (edges, shadows) get at least _TRANSLUCENT_COLOURS if they need them, and three
# times their share of the shown pixels, up to _TRANSLUCENT_PART of all colours: they also differ in
# alpha, and a wrong step in a shadow is seen first.
_TRANSLUCENT_COLOURS, _TRANSLUCENT_PART = 64, 5 / 8
# Shadows slope more than surfaces do, and are dithered too.
_SHADOW_LEVELS = 16
# For larger images, k-means runs on a sample of 300 × 300 pixels: it takes up to 2 s for a million
# pixels of noise, and the sample of 90,000 loses 3 points of SSIMULACRA2.
_MAX_CLUSTERED_PIXELS, _CLUSTERED_SIDE = 160_000, 300
_OPAQUE = 255


def with_palette(image: Image.Image, colours: int) -> Image.Image:
    """Reduce an image to at most `colours` colours and keep its alpha.

    An image with no more colours keeps them exactly. A small palette is dithered everywhere, a
    large one only where bands would be visible. Accepts modes 1, L, P, RGB and RGBA; returns 1, L
    (with fewer grays) or P.
    """
    if image.mode == "1":
        return image
    if image.mode in ("L", "P") and len(image.getcolors() or ()) <= colours:
        return image
    if image.mode == "L":  # stays gray, because its profile may be for gray
        return _reduced(image.convert("RGB"), colours).convert("L")
    if image.mode == "P":
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (_OPAQUE, _OPAQUE):
        image = image.convert("RGB")
    if image.getcolors(colours) is not None:
        return _exact(image, colours)
    if image.mode == "RGB":
        return _reduced(image, colours)
    return _reduced_with_alpha(image, colours)


def with_clear_colour(image: Image.Image, colours: int) -> Image.Image:
    """Reduce an image to at most `colours` colours, as for GIF: one of them is fully transparent,
    for pixels with less than half alpha.
    """
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
    """Convert an image that has at most `colours` colours to a palette of exactly these."""
    if image.mode == "RGB":
        return image.quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    # None of Pillow's quantisers is exact for RGBA. Number the colours first, then the pairs of
    # colour number and alpha.
    numbered = image.convert("RGB").quantize(
        colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
    )
    rgb = numbered.getpalette() or []
    number = numbered.copy()
    number.putpalette([level for level in range(256) for _ in range(3)])
    pairs = Image.merge(
        "RGB", (number.convert("L"), image.getchannel("A"), Image.new("L", image.size))
    )
    result = pairs.quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    palette = []
    told = result.getpalette() or []
    for at in range(0, len(told), 3):
        index, alpha = told[at : at + 2]
        palette += [*rgb[3 * index : 3 * index + 3], alpha]
    result.putpalette(palette, "RGBA")
    return result


def _reduced(image: Image.Image, colours: int) -> Image.Image:
    if colours < DITHERED_BELOW:
        return _dithered(image, image.quantize(colours, Image.Quantize.MEDIANCUT))
    smooth = _smooth(image)
    if ImageStat.Stat(smooth).mean[0] < _DRAWN_SHARE * 255:
        result = _nearest(image, colours)
    else:  # the larger an even area, the more colours it needs
        result = _clustered(image, colours, Image.Quantize.MEDIANCUT, _MOVED_SHARE)
    return _without_bands(image, result, smooth)


def _dithered(image: Image.Image, palette: Image.Image) -> Image.Image:
    return image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)


def _nearest(
    image: Image.Image,
    colours: int,
    moved_share: float = _MOVED_SHARE,
    weights: tuple[float, ...] = _WEIGHTS,
) -> Image.Image:
    """Map each pixel to the nearest colour of a k-means palette with weighted channels.

    k-means starts with colours that are far from each other. Starting with the most frequent ones
    would lose rare colours, and spend palette entries and most bytes on the background's noise.
    """
    channels = image.split()
    weighted = [
        channel.point([round(v * weight) for v in range(256)])
        for channel, weight in zip(channels, weights, strict=True)
    ]
    result = _clustered(
        Image.merge("RGB", weighted), colours, Image.Quantize.MAXCOVERAGE, moved_share
    )
    result.putpalette([round(mean) for means in _means(result, channels) for mean in means])
    return result


def _clustered(
    image: Image.Image, colours: int, start: Image.Quantize, moved_share: float
) -> Image.Image:
    if image.width * image.height > _MAX_CLUSTERED_PIXELS:
        sought = _clustered(_shrunk(image, _CLUSTERED_SIDE), colours, start, moved_share)
        return image.quantize(palette=sought, dither=Image.Dither.NONE)
    return image.quantize(colours, start, kmeans=1 + int(image.width * image.height * moved_share))


def _means(clusters: Image.Image, channels: Sequence[Image.Image]) -> list[list[float]]:
    """The mean of each channel for each palette entry; 0 for an entry without pixels."""
    numbers = Image.frombytes("L", clusters.size, clusters.tobytes())
    sums = [[0] * len(channels) for _ in range(len(clusters.getpalette() or []) // 3)]
    for at, channel in enumerate(channels):
        for bit in range(8):  # counting pairs of entry and value takes 4 times as long
            has_bit = channel.point([255 * (value >> bit & 1) for value in range(256)])
            for each, count in zip(sums, numbers.histogram(has_bit), strict=False):
                each[at] += count << bit
    return [
        [one / (count or 1) for one in each]
        for each, count in zip(sums, numbers.histogram(), strict=False)
    ]


def _smooth(image: Image.Image, levels_apart: int = _SMOOTH_LEVELS) -> Image.Image:
    """A mask of areas that are even or change so slowly that colour bands would be visible."""
    across, down = (
        _worst_channel(image, ImageChops.offset(image, *by))
        for by in ((_SMOOTH_PIXELS, 0), (0, _SMOOTH_PIXELS))
    )
    even = ImageChops.lighter(across, down).point(lambda levels: 255 * (levels <= levels_apart))
    around = even.filter(ImageFilter.BoxBlur(_SMOOTH_PIXELS // 2))
    return around.point(lambda share: 255 * (share > _SMOOTH_SHARE * 255))


def _without_bands(image: Image.Image, result: Image.Image, smooth: Image.Image) -> Image.Image:
    """Dither the result where the image is smooth and the palette is too coarse for it."""
    off = _worst_channel(image, result.convert("RGB")).point(
        lambda levels: 255 * (levels >= _SEEN_STEP)
    )
    around = ImageChops.darker(smooth, off).filter(ImageFilter.BoxBlur(_BAND_RADIUS))
    near = around.point(lambda share: 255 * (share > 0))
    result.paste(_dithered(image, result), mask=ImageChops.darker(smooth, near))
    return result


def _worst_channel(one: Image.Image, other: Image.Image) -> Image.Image:
    """The largest difference of any channel between two RGB images, per pixel."""
    red, green, blue = ImageChops.difference(one, other).split()
    return ImageChops.lighter(ImageChops.lighter(red, green), blue)


def _shrunk(image: Image.Image, side: int) -> Image.Image:
    width, height = image.size
    if max(width, height) <= side:
        return image
    return image.resize((min(width, side), min(height, side)), Image.Resampling.NEAREST)


def _reduced_with_alpha(image: Image.Image, colours: int) -> Image.Image:
    """Use one palette for opaque pixels, and another one with alpha for edges and shadows."""
    opaque = image.getchannel("A").point(lambda value: _OPAQUE * (value == _OPAQUE))
    clear, solid = (image.getchannel("A").histogram()[level] for level in (0, _OPAQUE))
    others = image.copy()
    others.paste(0, mask=opaque)
    if not solid:
        # Pillow's octree distinguishes 8 levels of alpha. With a single level, all entries are
        # left for colours.
        octree = image.quantize(colours, Image.Quantize.FASTOCTREE)
        found = _translucent(others, colours)
        return min((found, octree), key=lambda candidate: _error(image, candidate))
    seen_through = ImageChops.invert(opaque)
    share = 1 - solid / (image.width * image.height - clear)
    least = min(colours // 2, _TRANSLUCENT_COLOURS)
    most = max(least, round(colours * min(3 * share, _TRANSLUCENT_PART)))
    translucent = _translucent(others, most)
    entries = translucent.getpalette("RGBA") or []
    shown = image.convert("RGB")
    shown.paste(_mean_colour(shown, opaque), mask=seen_through)
    result = _opaque_part(shown, colours - len(entries) // 4)
    first = len(result.getpalette() or []) // 3
    result.paste(
        translucent.point([min(255, index + first) for index in range(256)]), mask=seen_through
    )
    palette = result.getpalette("RGBA") or []
    result.putpalette([*palette[: 4 * first], *entries], "RGBA")
    return result


def _error(image: Image.Image, result: Image.Image) -> float:
    """The sum of squared errors over premultiplied colour and alpha."""
    pairs = zip(_premultiplied(image), _premultiplied(result.convert("RGBA")), strict=True)
    return sum(ImageStat.Stat(ImageChops.difference(one, other)).sum2[0] for one, other in pairs)


def _opaque_part(image: Image.Image, colours: int) -> Image.Image:
    if colours < DITHERED_BELOW // 2:
        return _reduced(image, colours)
    result = _nearest(image, colours, _OPAQUE_MOVED_SHARE, _EQUAL_WEIGHTS)
    return _without_bands(image, result, _smooth(image))


def _translucent(image: Image.Image, colours: int) -> Image.Image:
    """Cluster by alpha, premultiplied lightness and the chroma channel that varies more (k-means).
    Each palette entry is its cluster's mean colour. k-means starts with entries that are far from
    each other: the few pixels of an edge would have none otherwise, and show as specks.

    Pillow's k-means takes only 3 channels, and its octree distinguishes only 8 levels of alpha.
    """
    red, green, blue, alpha = _premultiplied(image)
    lightness, *chroma = Image.merge("RGB", (red, green, blue)).convert("YCbCr").split()
    chroma.sort(key=lambda channel: ImageStat.Stat(channel).var[0])
    described = Image.merge("RGB", (alpha, lightness, chroma[-1]))
    clear = alpha.point(lambda level: 255 * (level == 0))
    result = _clustered(
        described, colours - 1, Image.Quantize.MAXCOVERAGE, _TRANSLUCENT_MOVED_SHARE
    )
    result = _without_bands(described, result, _smooth(described, _SHADOW_LEVELS))
    levels = (result.getpalette() or [])[::3]
    palette: list[int] = []
    for level, means in zip(levels, _means(result, (red, green, blue)), strict=True):
        palette += [*(min(255, round(mean * 255 / level)) if level else 0 for mean in means), level]
    result.paste(len(levels), mask=clear)  # dithering, too, leaves clear pixels alone
    result.putpalette([*palette, 0, 0, 0, 0], "RGBA")
    return result


def _premultiplied(image: Image.Image) -> tuple[Image.Image, ...]:
    premultiplied = image.convert("RGBa")
    return Image.frombytes("RGBA", image.size, premultiplied.tobytes()).split()


def _mean_colour(image: Image.Image, mask: Image.Image) -> tuple[int, ...]:
    return tuple(round(channel) for channel in ImageStat.Stat(image, mask).mean)
