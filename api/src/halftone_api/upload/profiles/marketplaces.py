"""Feeds and templates of marketplaces and advertisers."""

import re

from halftone_api.upload.cells import CellRules
from halftone_api.upload.profiles.profile import Profile

# Google accepts attribute names in the country's language, with spaces or underscores.
_TITLE = re.compile("title|titel|titre|título|titolo|tytuł|titlu")
_MAIN_IMAGE = re.compile(
    "image[ _]link|bild[ _]?link|lien[ _](?:de l')?image|lien[ _]image|"
    "(?:enlace[ _](?:de )?)?imagen|enlace[ _]imagen|link[ _]immagine|afbeeldingslink|"
    "link[ _]da[ _]imagem|link[ _]do[ _]obrazu"
)
_FURTHER_IMAGES = re.compile(
    "additional[ _]image[ _]link(?: \\d+)?|zusätzlicher[ _]bild[ _]?link|"
    "lien[ _]image[ _]supplémentaire|enlace[ _]imagen[ _]adicional|"
    "link[ _]immagine[ _]aggiuntiva|extra[ _]afbeeldingslink|link[ _]da[ _]imagem[ _]adicional"
)
_INDEXED_IMAGE = re.compile(r"image\[\d+\]\.url")
_AMAZON_IMAGE = re.compile(r"(?:main|other|swatch)_product_image_locator.*\.media_location")
_EBAY_ACTION = re.compile(r"action\(.*\)")

MARKETPLACES = (
    Profile(
        name="google-merchant",
        title="Google Merchant Center",
        requires=("id", _TITLE, _MAIN_IMAGE),
        key=("id",),
        product=(_TITLE,),
        images=(_MAIN_IMAGE, _FURTHER_IMAGES),
    ),
    Profile(
        name="meta",
        title="Meta Commerce Manager (Facebook, Instagram)",
        requires=("id", "title", "image_link"),
        key=("id",),
        product=("title",),
        images=("image_link", _FURTHER_IMAGES),
        before=re.compile(r"# ?(?:required|optional|ref_)", re.IGNORECASE),
    ),
    Profile(
        name="meta-indexed",
        title="Meta Commerce Manager, image[0].url",
        requires=("id", "title", _INDEXED_IMAGE),
        key=("id",),
        product=("title",),
        images=(_INDEXED_IMAGE,),
    ),
    Profile(
        name="amazon",
        title="Amazon, templates with several sheets",
        requires=(re.compile(r"contribution_sku#\d+\.value"), _AMAZON_IMAGE),
        key=(re.compile(r"contribution_sku#\d+\.value"),),
        product=(re.compile(r"item_name\b.*"),),
        images=(_AMAZON_IMAGE,),
        example_keys=frozenset({"abc123"}),
    ),
    Profile(
        name="amazon-flat-file",
        title="Amazon, flat file",
        requires=("item_sku", "main_image_url"),
        key=("item_sku",),
        product=("item_name",),
        images=("main_image_url", re.compile(r"other_image_url\d*"), "swatch_image_url"),
    ),
    Profile(
        name="ebay-draft",
        title="eBay, drafts",
        requires=(_EBAY_ACTION, "custom label (sku)", "item photo url"),
        key=("custom label (sku)",),
        product=("title",),
        images=("item photo url",),
    ),
    Profile(
        name="ebay",
        title="eBay, category template",
        requires=(_EBAY_ACTION, "title", "picurl"),
        key=("customlabel", "custom label (sku)"),
        product=("title",),
        images=("picurl",),
    ),
    Profile(
        name="etsy",
        title="Etsy",
        requires=("title", "description", "materials", "image1"),
        key=("sku",),
        product=("title",),
        images=(re.compile(r"image\d+"),),
    ),
    Profile(
        name="channeladvisor",
        title="ChannelAdvisor",
        requires=("inventory number", "picture urls"),
        key=("inventory number",),
        product=("auction title", "title"),
        images=("picture urls",),
        rules=CellRules(prefix=r"(?:ITEMIMAGEURL\d+=)?"),
    ),
    Profile(
        name="adobe-target",
        title="Adobe Target Recommendations",
        requires=(re.compile(r"(?:## ?recs)?entity\.id"), "entity.thumbnailurl"),
        key=(re.compile(r"(?:## ?recs)?entity\.id"),),
        product=("entity.name",),
        images=("entity.thumbnailurl",),
    ),
)
