"""Exports of shop systems."""

import re

from halftone_api.upload.cells import CellRules
from halftone_api.upload.profiles.profile import Profile

# WooCommerce writes the header in the shop's language.
_WOOCOMMERCE_IMAGES = re.compile(
    "images|bilder|imágenes|imagenes|immagini|imagens|afbeeldingen|obrazki|obrazy|obrázky|"
    "billeder|kuvat|képek|imagini|imatges|изображения|зображення|εικόνες|görseller|resimler|"
    "画像|图片|圖片|이미지|תמונות|صور|hình ảnh|gambar|slike"
)
_WOOCOMMERCE_NAME = re.compile(
    "name|nombre|nom|nome|naam|nazwa|název|názov|navn|namn|nimi|név|nume|имя|название|назва|"
    "όνομα|isim|ad|名前|名称|商品名|名稱|이름|שם|الاسم|tên|nama|ime|naziv"
)
_WOOCOMMERCE_SKU = re.compile("sku|ugs|artikelnummer|art\\.-nr\\.|cód\\. ref\\.|артикул|kód")

SHOPS = (
    Profile(
        name="shopify",
        title="Shopify",
        requires=("handle", "title", "image src"),
        key=("handle",),
        product=("title",),
        images=("image src", "variant image"),
        follow_up_rows=True,
    ),
    Profile(
        name="shopify-template",
        title="Shopify (template of 2024)",
        requires=("url handle", "title", "product image url"),
        key=("url handle",),
        product=("title",),
        images=("product image url", "variant image url"),
        follow_up_rows=True,
    ),
    Profile(
        name="matrixify",
        title="Matrixify",
        requires=("handle", "command", "image src", "image command"),
        key=("handle",),
        product=("title",),
        images=("image src", "variant image"),
        follow_up_rows=True,
    ),
    Profile(
        name="woocommerce",
        title="WooCommerce",
        requires=("id", _WOOCOMMERCE_SKU, _WOOCOMMERCE_NAME, _WOOCOMMERCE_IMAGES),
        key=(_WOOCOMMERCE_SKU,),
        key_otherwise=("id",),
        product=(_WOOCOMMERCE_NAME,),
        images=(_WOOCOMMERCE_IMAGES,),
        rules=CellRules(escaped_commas=True, path_separator=","),
    ),
    Profile(
        name="webtoffee",
        title="WooCommerce (WebToffee)",
        requires=("post_title", "sku", "images"),
        key=("sku",),
        key_otherwise=("id",),
        product=("post_title",),
        images=("images",),
        rules=CellRules(suffix=r"\s*!\s*(?:alt|title|desc|caption)\s*:.*", path_separator="|"),
    ),
    Profile(
        name="magento",
        title="Magento, Adobe Commerce",
        requires=("sku", "base_image", re.compile("additional_images|small_image")),
        key=("sku",),
        product=("name",),
        images=(
            "base_image",
            "small_image",
            "thumbnail_image",
            "swatch_image",
            "additional_images",
        ),
        follow_up_rows=True,
        rules=CellRules(path_separator=",", empty=frozenset({"no_selection"})),
    ),
    Profile(
        name="bigcommerce-v2",
        title="BigCommerce (version 2)",
        requires=("item type", "product name", re.compile(r"product image (?:url|file) - \d+")),
        key=("product code/sku",),
        key_otherwise=("product id",),
        product=("product name",),
        images=(re.compile(r"product image url - \d+"),),
        or_images=(re.compile(r"product image file - \d+"),),
        follow_up_rows=True,
    ),
    Profile(
        name="bigcommerce",
        title="BigCommerce (version 3)",
        requires=("item", "sku", "internal image url (export)", "image url (import)"),
        key=("sku",),
        key_otherwise=("id",),
        product=("name",),
        images=("variant image url", "internal image url (export)"),
        outputs={"internal image url (export)": "image url (import)"},
        follow_up_rows=True,
    ),
    Profile(
        name="prestashop",
        title="PrestaShop",
        requires=(
            re.compile(r"(?:product )?id"),
            re.compile(r"image urls? ?\(x, ?y, ?z\.*\)"),
        ),
        key=("reference #", "reference"),
        key_otherwise=("product id", "id"),
        product=("name",),
        images=(re.compile(r"image urls? ?\(x, ?y, ?z\.*\)"),),
    ),
    Profile(
        name="shopware",
        title="Shopware 6",
        requires=("id", "product_number", re.compile("cover_media_url|media")),
        key=("product_number",),
        key_otherwise=("id",),
        product=("name", re.compile(r"name[._-].*")),
        images=("cover_media_url", "media"),
        rules=CellRules(path_separator="|"),
    ),
    Profile(
        name="shopware5-images",
        title="Shopware 5, article images",
        requires=("ordernumber", "image", "main"),
        key=("ordernumber",),
        product=("name",),
        images=("image",),
        follow_up_rows=True,
    ),
    Profile(
        name="squarespace",
        title="Squarespace",
        requires=("product id [non editable]", "title", "hosted image urls"),
        key=("sku",),
        key_otherwise=("product id [non editable]",),
        product=("title",),
        images=("hosted image urls",),
        follow_up_rows=True,
    ),
    Profile(
        name="wix-classic",
        title="Wix Stores (classic)",
        requires=("handleid", "fieldtype", "productimageurl"),
        key=("handleid",),
        product=("name",),
        images=("productimageurl",),
        follow_up_rows=True,
        # The export has media IDs; Wix serves the images under this address.
        rules=CellRules(base_url="https://static.wixstatic.com/media/", path_separator=";"),
    ),
    Profile(
        name="wix",
        title="Wix Stores",
        requires=("handle", "fieldtype", "media"),
        key=("handle",),
        product=("name",),
        images=("media",),
        follow_up_rows=True,
        rules=CellRules(path_separator=";"),
    ),
    Profile(
        name="ecwid",
        title="Ecwid, Lightspeed E-Series",
        requires=(
            "product_name",
            re.compile(r"product_media_(?:main_image_url|gallery_image_url_\d+)"),
        ),
        key=("product_sku",),
        key_otherwise=("product_internal_id",),
        product=("product_name",),
        images=(
            "product_media_main_image_url",
            re.compile(r"product_media_gallery_image_url_\d+"),
        ),
    ),
    Profile(
        name="lightspeed-c",
        title="Lightspeed eCom (C-Series)",
        requires=("internal_id", "internal_variant_id", "images"),
        key=("sku", "article_code"),
        key_otherwise=("internal_id",),
        product=(re.compile(r"[a-z]{2}_title_short"), re.compile(r"[a-z]{2}_title_long")),
        images=("images",),
    ),
    Profile(
        name="lightspeed-retail",
        title="Lightspeed Retail (R-Series)",
        requires=("featured image", "image"),
        key=("custom sku", "system id", "upc", "ean"),
        product=("item", "description", "name"),
        images=("featured image", "image"),
    ),
    Profile(
        name="opencart",
        title="OpenCart Export/Import Tool, products",
        requires=("product_id", "model", "image_name"),
        key=("model", "sku"),
        key_otherwise=("product_id",),
        product=(re.compile(r"name ?\(.*\)"), "name"),
        images=("image_name",),
    ),
    Profile(
        name="opencart-images",
        title="OpenCart Export/Import Tool, additional images",
        requires=("product_id", "image", "sort_order"),
        key=("product_id",),
        product=(),
        images=("image",),
    ),
    Profile(
        name="opencart-csv-price-pro",
        title="OpenCart CSV Price Pro",
        requires=("_model_", "_image_"),
        key=("_model_", "_sku_"),
        key_otherwise=("_id_",),
        product=("_name_",),
        images=("_image_", "_images_"),
        rules=CellRules(path_separator=","),
    ),
)
