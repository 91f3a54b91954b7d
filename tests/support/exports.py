"""Small invented tables in the exact format of each system's export."""

from dataclasses import dataclass, field

A, B, C, D = (f"https://images.example/{name}.jpg" for name in "abcd")


@dataclass(frozen=True)
class Export:
    """A file, the profile that recognises it, and its content.

    `images` are the URLs of each row with an image. `keys` and `names` are the keys and names of
    those rows.
    """

    profile: str
    rows: list[list[str]]
    images: list[list[str]]
    keys: list[str | None]
    names: list[str | None]
    delimiter: str = ","
    has_bom: bool = False
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        import csv
        import io

        text = io.StringIO(newline="")
        csv.writer(text, delimiter=self.delimiter).writerows(self.rows)
        return text.getvalue().encode("utf-8-sig" if self.has_bom else "utf-8")


def _rows(text: str, delimiter: str = ",") -> list[list[str]]:
    """Rows of simple cells, one per line. `{A}` to `{D}` are image URLs."""
    filled = text.strip("\n").format(A=A, B=B, C=C, D=D)
    return [line.split(delimiter) for line in filled.split("\n")]


def _cells(*rows: str) -> list[list[str]]:
    """Rows whose cells are separated by ` ¦ `, for cells with commas."""
    return [[cell.strip(" ") for cell in row.format(A=A, B=B, C=C, D=D).split("¦")] for row in rows]


EXPORTS = [
    Export(
        "shopify",
        _rows(
            """
Handle,Title,Body (HTML),Vendor,Variant SKU,Image Src,Image Position,Image Alt Text,Variant Image
red-mug,Red Mug,<p>Big</p>,Acme,MUG-S,{A},1,Front,{A}
red-mug,,,,MUG-L,{B},2,,
red-mug,,,,,{C},3,,
lamp,Lamp,,,,,,,
"""
        ),
        [[A, A], [B], [C]],
        ["red-mug", "red-mug", "red-mug"],
        ["Red Mug", "Red Mug", "Red Mug"],
    ),
    Export(
        "shopify-template",
        _rows(
            """
Title,URL handle,Description,Vendor,Status,SKU,Price,Product image URL,Image position,Image alt text,Variant image URL
Red Mug,red-mug,Big,Acme,Active,MUG-S,9.00,{A},1,Front,
,red-mug,,,,MUG-L,11.00,{B},2,,{C}
"""
        ),
        [[A], [B, C]],
        ["red-mug", "red-mug"],
        ["Red Mug", "Red Mug"],
    ),
    Export(
        "matrixify",
        _rows(
            """
ID,Handle,Command,Title,Row #,Top Row,Image Type,Image Src,Image Command,Image Position,Variant SKU,Variant Image
7012345678901,red-mug,MERGE,Red Mug,1,TRUE,IMAGE,{A};{B},MERGE,1,MUG-S,
7012345678901,red-mug,MERGE,,2,,IMAGE,{C},MERGE,2,,
"""
        ),
        [[A, B], [C]],
        ["red-mug", "red-mug"],
        ["Red Mug", "Red Mug"],
    ),
    Export(
        "woocommerce",
        _cells(
            "ID¦Type¦SKU¦Name¦Published¦Images¦Parent",
            "44¦variable¦HOODIE¦Hoodie¦1¦{A}, {B}¦",
            "45¦variation¦HOODIE-R¦Hoodie - Red¦1¦{C}¦HOODIE",
            r"46¦simple¦¦Mug¦1¦https://images.example/w_200\,h_200/mug.jpg, {D}¦",
            "47¦simple¦¦No picture¦1¦¦",
        ),
        [[A, B], [C], ["https://images.example/w_200,h_200/mug.jpg", D]],
        ["HOODIE", "HOODIE-R", "46"],
        ["Hoodie", "Hoodie - Red", "Mug"],
        has_bom=True,
    ),
    Export(
        "woocommerce",
        _cells(
            "ID¦Tipo¦SKU¦Nombre¦Publicado¦Imágenes¦Superior",
            "44¦simple¦TAZA¦Taza roja¦1¦{A}, {B}¦",
        ),
        [[A, B]],
        ["TAZA"],
        ["Taza roja"],
        has_bom=True,
    ),
    Export(
        "webtoffee",
        _cells(
            "ID¦post_title¦sku¦images",
            "7¦Red Mug¦MUG¦{A} ! alt : Front ! title : a ! desc :  ! caption : |{B} ! alt : ",
        ),
        [[A, B]],
        ["MUG"],
        ["Red Mug"],
    ),
    Export(
        "magento",
        _cells(
            "sku¦store_view_code¦product_type¦name¦base_image¦small_image¦thumbnail_image"
            "¦swatch_image¦additional_images¦additional_image_labels",
            "MUG-S¦¦simple¦Red Mug¦/m/u/mug.jpg¦/m/u/mug.jpg¦/m/u/mug.jpg¦no_selection"
            "¦/m/u/mug.jpg,/m/u/mug_2.jpg¦Front,Back",
            "MUG-S¦fr¦simple¦Tasse rouge¦¦¦¦¦¦",
        ),
        [
            [
                *["https://shop.example/media/catalog/product/m/u/mug.jpg"] * 4,
                "https://shop.example/media/catalog/product/m/u/mug_2.jpg",
            ]
        ],
        ["MUG-S"],
        ["Red Mug"],
        fields={"base_url": "https://shop.example/media/catalog/product"},
    ),
    Export(
        "bigcommerce-v2",
        _rows(
            """
Item Type,Product ID,Product Name,Product Type,Product Code/SKU,Product Image File - 1,Product Image URL - 1,Product Image File - 1,Product Image URL - 2
Product,112,Red Mug,P,MUG,mug.jpg,{A},d/1/mug.jpg,{B}
SKU,201,[S]Size=L,,MUG-L,,,,
"""
        ),
        [[A, B]],
        ["MUG"],
        ["Red Mug"],
    ),
    Export(
        "bigcommerce",
        _rows(
            """
Item,ID,Name,Type,SKU,Variant Image URL,Internal Image URL (Export),Image URL (Import),Image Description
Product,112,Red Mug,physical,MUG,,,,
Image,377,,,,,{A}?c=1,,Front
Variant,78,,,MUG-L,{B},,,
"""
        ),
        [[f"{A}?c=1"], [B]],
        ["MUG", "MUG-L"],
        ["Red Mug", None],
    ),
    Export(
        "prestashop",
        _rows(
            """
Product ID;Active (0/1);Name *;Reference #;Image URLs (x,y,z...);Image alt texts (x,y,z...);Delete existing images (0 = No, 1 = Yes)
1;1;Red Mug;MUG;{A},{B};Front,Back;0
""",
            ";",
        ),
        [[A, B]],
        ["MUG"],
        ["Red Mug"],
        delimiter=";",
    ),
    Export(
        "shopware",
        _rows(
            """
id;parent_id;product_number;active;stock;name;cover_media_id;cover_media_url;media
0190c0ffee0190c0ffee0190c0ffee01;;SW-1;1;10;Red Mug;;{A};{B}|{C}
""",
            ";",
        ),
        [[A, B, C]],
        ["SW-1"],
        ["Red Mug"],
        delimiter=";",
    ),
    Export(
        "shopware5-images",
        _rows(
            """
ordernumber;image;main;description;position
SW-1;{A};1;Front;1
SW-1;{B};2;Back;2
""",
            ";",
        ),
        [[A], [B]],
        ["SW-1", "SW-1"],
        [None, None],
        delimiter=";",
    ),
    Export(
        "squarespace",
        _rows(
            """
Product ID [Non Editable],Variant ID [Non Editable],Product Type [Non Editable],Product Page,Product URL,Title,Description,SKU,Price,Hosted Image URLs
5f0a,11aa,PHYSICAL,shop,red-mug,Red Mug,<p>Big</p>,SQ1,9.00,{A} {B}
,11ab,,,,,,SQ2,11.00,
"""
        ),
        [[A, B]],
        ["SQ1"],
        ["Red Mug"],
    ),
    Export(
        "wix-classic",
        _rows(
            """
handleId,fieldType,name,description,productImageUrl,collection,sku,ribbon,price
product_3f,Product,Red Mug,Big,5e7d77_5b25~mv2.png;5e7d77_d3f9~mv2.png,Mugs,MUG,,9
product_3f,Variant,,,,,MUG-L,,2
"""
        ),
        [
            [
                "https://static.wixstatic.com/media/5e7d77_5b25~mv2.png",
                "https://static.wixstatic.com/media/5e7d77_d3f9~mv2.png",
            ]
        ],
        ["product_3f"],
        ["Red Mug"],
    ),
    Export(
        "wix",
        _rows(
            """
handle,fieldType,name,visible,plainDescription,media,mediaAltText,brand,price,sku
red-mug,PRODUCT,Red Mug,TRUE,Big,{A},Front,,9,MUG
red-mug,MEDIA,,,,{B},Back,,,
"""
        ),
        [[A], [B]],
        ["red-mug", "red-mug"],
        ["Red Mug", "Red Mug"],
    ),
    Export(
        "ecwid",
        _rows(
            """
type,product_internal_id,product_sku,product_name,product_media_main_image_url,product_media_main_image_alt,product_media_gallery_image_url_1,product_media_gallery_image_alt_1,product_media_gallery_image_url_2
product,551,MUG,Red Mug,{A},Front,{B},,{C}
product_variation,551,MUG-L,,,,,,
"""
        ),
        [[A, B, C]],
        ["MUG"],
        ["Red Mug"],
    ),
    Export(
        "lightspeed-c",
        _cells(
            "Internal_ID¦Internal_Variant_ID¦Visible¦EN_Title_Short¦Article_Code¦EAN¦SKU¦Images",
            "90001¦170001¦Y¦Red Mug¦A-1¦4006381333931¦MUG-S¦{A},{B}",
        ),
        [[A, B]],
        ["MUG-S"],
        ["Red Mug"],
    ),
    Export(
        "lightspeed-retail",
        _rows(
            """
System ID,Item,Custom SKU,Featured Image,Image,Image
210000001,Red Mug,MUG,mug.jpg,mug 2.jpg,
"""
        ),
        [["https://shop.example/p/mug.jpg", "https://shop.example/p/mug%202.jpg"]],
        ["MUG"],
        ["Red Mug"],
        fields={"base_url": "https://shop.example/p/"},
    ),
    Export(
        "opencart",
        _rows(
            """
product_id,name(en-gb),model,sku,image_name
42,Red Mug,MUG,,catalog/demo/mug.jpg
"""
        ),
        [["https://shop.example/image/catalog/demo/mug.jpg"]],
        ["MUG"],
        ["Red Mug"],
        fields={"base_url": "https://shop.example/image/"},
    ),
    Export(
        "opencart-images",
        _rows(
            """
product_id,image,sort_order
42,catalog/demo/mug2.jpg,0
"""
        ),
        [["https://shop.example/image/catalog/demo/mug2.jpg"]],
        ["42"],
        [None],
        fields={"base_url": "https://shop.example/image/"},
    ),
    Export(
        "opencart-csv-price-pro",
        _rows("_ID_;_MODEL_;_SKU_;_NAME_;_IMAGE_;_IMAGES_\n42;MUG;;Red Mug;{A};{B},{C}", ";"),
        [[A, B, C]],
        ["MUG"],
        ["Red Mug"],
        delimiter=";",
    ),
    Export(
        "google-merchant",
        _rows(
            "id\ttitle\tlink\timage_link\tadditional_image_link\tadditional_image_link\n"
            "MUG-S\tRed Mug\thttps://x.test/p\t{A}\t{B},https://images.example/c%2C1.jpg\t{D}",
            "\t",
        ),
        [[A, B, "https://images.example/c%2C1.jpg", D]],
        ["MUG-S"],
        ["Red Mug"],
        delimiter="\t",
    ),
    Export(
        "google-merchant",
        _rows("id\ttitel\tlink\tbildlink\nTASSE\tRote Tasse\thttps://x.test/p\t{A}", "\t"),
        [[A]],
        ["TASSE"],
        ["Rote Tasse"],
        delimiter="\t",
    ),
    Export(
        "meta",
        _cells(
            "# Required | A unique content ID¦# Required | A specific title"
            "¦# Required | The URL for the main image¦# Optional | More images",
            "id¦title¦image_link¦additional_image_link",
            "MUG-S¦Red Mug¦{A}¦{B},{C}",
        ),
        [[A, B, C]],
        ["MUG-S"],
        ["Red Mug"],
    ),
    Export(
        "meta-indexed",
        _rows(
            """
# ref_application_id 1234567890
id,title,image[0].url,image[0].tag[0],image[1].url
MUG-S,Red Mug,{A},front,{B}
"""
        ),
        [[A, B]],
        ["MUG-S"],
        ["Red Mug"],
    ),
    Export(
        "amazon-flat-file",
        _rows(
            "TemplateType=fptcustom\tVersion=2021.0625\tTemplateSignature=QUJD\tThe top 3 rows are"
            " for Amazon.com use only.\n"
            "Seller SKU\tProduct Name\tMain Image URL\tOther Image URL\tOther Image URL\n"
            "item_sku\titem_name\tmain_image_url\tother_image_url1\tother_image_url2\n"
            "MUG-S\tRed Mug\t{A}\t{B}\t{C}",
            "\t",
        ),
        [[A, B, C]],
        ["MUG-S"],
        ["Red Mug"],
        delimiter="\t",
    ),
    Export(
        "amazon",
        _rows(
            """
settings=attributeRow=3&contentLanguageTag=en_US,,,
Template help,,,
,,Images,
SKU,Item Name,Main Image URL,Other Image URL
contribution_sku#1.value,item_name[marketplace_id=A][language_tag=en_US]#1.value,main_product_image_locator[marketplace_id=A]#1.media_location,other_product_image_locator_1[marketplace_id=A]#1.media_location
ABC123,Example,https://example.com/example.jpg,
MUG-S,Red Mug,{A},{B}
"""
        ),
        [[A, B]],
        ["MUG-S"],
        ["Red Mug"],
    ),
    Export(
        "ebay-draft",
        _cells(
            "#INFO¦Version=0.0.2¦Template= eBay-draft-listings-template_US¦¦",
            "#INFO¦Action and Category ID are required fields.¦¦¦",
            "Action(SiteID=US|Country=US|Currency=USD|Version=1193|CC=UTF-8)¦Custom label (SKU)"
            "¦Category ID¦Title¦Item photo URL",
            "Draft¦MUG-S¦20696¦Red Mug¦{A}|{B}",
        ),
        [[A, B]],
        ["MUG-S"],
        ["Red Mug"],
        has_bom=True,
    ),
    Export(
        "ebay",
        _cells(
            "Info¦Version=1.0.0¦Template=fx_category_template_EBAY_US¦¦",
            "*Action(SiteID=US|Country=US|Currency=USD|Version=1193)¦CustomLabel¦*Category¦*Title"
            "¦PicURL",
            "Info¦>>> Choose a category¦¦¦",
            "Add¦¦20696¦Red Mug¦{A}|{B}",
        ),
        [[A, B]],
        ["Red Mug"],
        ["Red Mug"],
    ),
    Export(
        "etsy",
        _cells(
            "TITLE¦DESCRIPTION¦PRICE¦CURRENCY_CODE¦QUANTITY¦TAGS¦MATERIALS¦IMAGE1¦IMAGE2¦IMAGE3"
            "¦VARIATION 1 TYPE¦SKU",
            "Baker&#39;s Mug¦Line one\nline two¦9.00¦USD¦5¦mug,red¦clay¦{A}¦{B}¦¦¦",
        ),
        [[A, B]],
        ["Baker&#39;s Mug"],
        ["Baker&#39;s Mug"],
    ),
    Export(
        "channeladvisor",
        _cells(
            "Auction Title¦Inventory Number¦Picture URLs",
            "Red Mug¦MUG-S¦ITEMIMAGEURL1={A},ITEMIMAGEURL2={B}",
        ),
        [[A, B]],
        ["MUG-S"],
        ["Red Mug"],
    ),
    Export(
        "adobe-target",
        _rows(
            """
## RECSRecommendations Upload File
## RECS''## RECS'' indicates a Recommendations pre-process header. Please do not remove these lines.
## RECSentity.id,entity.name,entity.message,entity.thumbnailUrl
MUG-S,Red Mug,,{A}
"""
        ),
        [[A]],
        ["MUG-S"],
        ["Red Mug"],
    ),
    Export(
        "akeneo",
        _rows(
            """
uuid;sku;categories;enabled;family;name-en_US;side_view;top_view
5cf4;MUG-S;mugs;1;mug;Red Mug;files/MUG-S/side_view/a.png;files/MUG-S/top_view/b.png
5cf5;;mugs;1;mug;Blue Mug;;
""",
            ";",
        ),
        [
            [
                "https://pim.example/files/MUG-S/side_view/a.png",
                "https://pim.example/files/MUG-S/top_view/b.png",
            ]
        ],
        ["MUG-S"],
        ["Red Mug"],
        delimiter=";",
        fields={"base_url": "https://pim.example/"},
    ),
    Export(
        "odoo",
        _rows(
            """
id,default_code,name,image_1920
__export__.product_template_9,MUG-S,Red Mug,{A}
"""
        ),
        [[A]],
        ["MUG-S"],
        ["Red Mug"],
    ),
    Export(
        "odoo",
        _rows(
            """
External ID,Internal Reference,Name,Image
__export__.product_template_9,,Red Mug,{A}
"""
        ),
        [[A]],
        ["__export__.product_template_9"],
        ["Red Mug"],
    ),
    Export(
        "sales-layer",
        _cells("product_reference¦product_name¦product_image", "MUG-S¦Red Mug¦++{A},{B}"),
        [[A, B]],
        ["MUG-S"],
        ["Red Mug"],
    ),
    Export(
        "plentymarkets",
        _rows(
            """
ItemImageItemID;ItemImageURL;ItemImagePosition
1001;{A};0
1001;{B};1
""",
            ";",
        ),
        [[A], [B]],
        ["1001", "1001"],
        [None, None],
        delimiter=";",
    ),
    Export(
        "ergonode",
        _cells("_sku¦_template¦_name¦image¦gallery", "MUG-S¦mug¦Red Mug¦a.png¦b.png,c.png"),
        [[f"https://pim.example/{name}.png" for name in "abc"]],
        ["MUG-S"],
        ["Red Mug"],
        fields={"base_url": "https://pim.example/"},
    ),
]
