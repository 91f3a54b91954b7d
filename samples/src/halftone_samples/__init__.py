"""Sample product photographs, painted with Pillow alone: no assets, no network, the same pixels for
the same seed.

lighting and textures make surfaces, bodies shape them, products are built of bodies, scene is what
stands around them, lens is what the camera adds, and render takes the picture.
"""

from halftone_samples.products import PRODUCTS
from halftone_samples.render import render_cutout, render_photo

__all__ = ["PRODUCTS", "render_cutout", "render_photo"]
