"""Exports of product information (PIM) and enterprise resource planning (ERP) systems."""

import re

from halftone_api.upload.cells import CellRules
from halftone_api.upload.profiles.profile import Profile

_ODOO_ID = re.compile("id|external id")
_ODOO_REFERENCE = re.compile("default_code|internal reference")
_ODOO_IMAGE = re.compile(r"image_(?:1920|1024|512|256|128)|image")
_SALES_LAYER_IMAGES = re.compile("product_images?|image_reference|images?")

CATALOGUES = (
    Profile(
        name="akeneo",
        title="Akeneo",
        requires=("categories", "enabled", "family", re.compile("sku|identifier|uuid")),
        key=("sku", "identifier"),
        key_otherwise=("uuid",),
        product=(re.compile(r"name(?:-.*)?"), re.compile(r"label(?:-.*)?")),
        # Each image is an attribute with a name that the customer chose.
        images_by_content=True,
    ),
    Profile(
        name="odoo",
        title="Odoo",
        requires=(_ODOO_ID, _ODOO_REFERENCE, _ODOO_IMAGE),
        key=(_ODOO_REFERENCE,),
        key_otherwise=(_ODOO_ID,),
        product=("name",),
        images=(_ODOO_IMAGE,),
    ),
    Profile(
        name="sales-layer",
        title="Sales Layer",
        requires=("product_reference", _SALES_LAYER_IMAGES),
        key=("product_reference",),
        product=("product_name",),
        images=(_SALES_LAYER_IMAGES,),
        # `++` before a URL adds the image to the existing ones.
        rules=CellRules(prefix=r"(?:\+\+)?", path_separator=","),
    ),
    Profile(
        name="plentymarkets",
        title="plentymarkets, item images",
        requires=("itemimageitemid", "itemimageurl"),
        key=("itemimageitemid",),
        product=("itemname", "name"),
        images=("itemimageurl",),
    ),
    Profile(
        name="ergonode",
        title="Ergonode",
        requires=("_sku", "_template", re.compile("image|gallery")),
        key=("_sku",),
        product=("name", re.compile("_name.*")),
        images=("image", "gallery"),
        rules=CellRules(path_separator=","),
    ),
)
