"""The photographs that the demo ships, and product files that name them."""

from pathlib import Path

import halftone_cli

PICTURES = Path(halftone_cli.__file__).parent / "demo" / "pictures"
NAMES = sorted(
    path.name for path in PICTURES.iterdir() if path.suffix in (".jpg", ".png", ".webp", ".gif")
)
HEADER = "Serial Number,Product Name,Input Image Urls\n"


def catalogue(shop_url: str, products: int = 6) -> str:
    """A file in which one product has an image that is missing in the shop."""
    rows = [
        f'{number},Product {number},"{shop_url}/{NAMES[number % len(NAMES)]}"'
        for number in range(1, products + 1)
    ]
    rows.append(f'{products + 1},Lamp,"{shop_url}/{NAMES[0]},{shop_url}/gone.jpg"')
    return HEADER + "\n".join(rows) + "\n"


def faulty(shop_url: str) -> str:
    """A file with a duplicate number, a word for a number, and a product without a name."""
    url = f"{shop_url}/{NAMES[0]}"
    return f"{HEADER}1,Ball,{url}\n1,Book,{url}\nx,Mug,{url}\n4,,{url}\n5,Vase,{url}\n"


def shopify_export(shop_url: str, products: int = 6) -> str:
    """The same products as an export of Shopify: the second image of the last one is missing."""
    rows = ["Handle,Title,Body (HTML),Vendor,Variant SKU,Image Src,Image Position,Variant Image"]
    rows += [
        f"product-{number},Product {number},,Acme,S{number},{shop_url}/{NAMES[number % len(NAMES)]}"
        ",1,"
        for number in range(1, products + 1)
    ]
    rows.append(f"lamp,Lamp,,Acme,L1,{shop_url}/{NAMES[0]},1,{shop_url}/gone.jpg")
    return "\n".join(rows) + "\n"
