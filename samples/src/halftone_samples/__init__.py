"""Sample product photographs, painted with Pillow alone: no assets, no network, and the same pixels
for the same seed.

lighting and textures make surfaces, bodies gives them shape, products combines bodies, scene adds
the surroundings, lens adds the camera's effects, and render produces the picture.
"""

from halftone_samples.products import PRODUCTS
from halftone_samples.render import render_cutout, render_photo

__all__ = ["PRODUCTS", "render_cutout", "render_photo"]
