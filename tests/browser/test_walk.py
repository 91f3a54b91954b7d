"""A first-time user's path in a browser, from an export with three faults to the ZIP."""

import csv
import io
import zipfile
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.pictures import catalogue, faulty, shopify_export
from tests.support.halftone import wait_for
from tests.support.origin import Origin

ENDED = "Download the file"


def drop(page: Page, tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    page.goto("/")
    page.set_input_files("#file", path)


def test_faulty_export_is_mended_and_ends_as_a_zip(
    page: Page, shop: Origin, tmp_path: Path
) -> None:
    drop(page, tmp_path, "export.csv", faulty(shop.url))
    refusal = page.get_by_role("alert")
    expect(refusal).to_contain_text("3 errors")
    expect(refusal.get_by_role("row")).to_have_count(4)
    expect(refusal).to_contain_text("Serial number 1 is on line 2 already")
    page.get_by_role("button", name="Leave the wrong rows out").click()
    expect(page.locator("#answer")).to_contain_text("2 images on 1 host")
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_url("**/r/*")
    expect(page.get_by_text(ENDED)).to_be_visible()
    expect(page.locator(".saved")).to_contain_text("−")
    with page.expect_download() as download:
        page.get_by_role("link", name="All images as ZIP").click()
    with zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())) as archive:
        assert len(archive.namelist()) == 2
        assert archive.testzip() is None
    with page.expect_download() as download:
        page.get_by_role("link", name=ENDED).click()
    rows = Path(download.value.path()).read_text(encoding="utf-8-sig").splitlines()
    assert len(rows) == 6, "every row comes back"
    with page.expect_download() as download:
        page.get_by_role("link", name="Report").click()
    assert Path(download.value.path()).read_text().count("COMPLETED") == 2


def test_file_is_corrected_and_chosen_again(page: Page, shop: Origin, tmp_path: Path) -> None:
    """The browser keeps a file as it was when it was chosen, and does not report the same name."""
    drop(page, tmp_path, "export.csv", faulty(shop.url))
    expect(page.get_by_role("alert")).to_contain_text("3 errors")
    (tmp_path / "export.csv").write_text(catalogue(shop.url, 2))
    with page.expect_file_chooser() as chooser:
        page.locator("#drop").click()
    chooser.value.set_files(tmp_path / "export.csv")
    expect(page.locator("#answer")).to_contain_text("3 rows, 4 images on 1 host")


def test_shopify_export_is_sampled_watched_compared_retried_and_downloaded(
    page: Page, shop: Origin, tmp_path: Path
) -> None:
    drop(page, tmp_path, "products_export.csv", shopify_export(shop.url))
    expect(page.locator("#answer")).to_contain_text("Shopify: 7 rows, 8 images on 1 host")
    page.get_by_role("button", name="Try 20 images first").click()
    page.wait_for_url("**/r/*")
    expect(page.get_by_text("The whole file:")).to_be_visible()
    drop(page, tmp_path, "products_export.csv", shopify_export(shop.url))
    expect(page.locator("#answer")).to_contain_text("8 images")
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_url("**/r/*")
    expect(page.get_by_text(ENDED)).to_be_visible()
    failures = page.locator("#failures")
    expect(failures).to_contain_text("The server answered 404")
    expect(failures).to_contain_text("What to do")
    failures.get_by_role("link", name="Show them").click()
    expect(page.locator(".product")).to_have_count(1)

    page.locator("button.shot").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    for picture in ("#compare-before", "#compare-after"):
        expect(page.locator(picture)).to_have_js_property("complete", True)
        assert page.locator(picture).evaluate("image => image.naturalWidth") > 0
    first = dialog.locator("#compare-name").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.locator("#compare-slider").evaluate("slider => slider.value") > 50
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.select_option("#status", "")
    page.get_by_label("Show").select_option("COMPLETED")
    expect(page.locator(".product")).to_have_count(7)
    page.locator("button.shot").first.click()
    page.keyboard.press("n")
    expect(dialog.locator("#compare-name")).not_to_have_text(first)
    page.keyboard.press("Escape")

    hits = shop.hits["/gone.jpg"]
    page.get_by_role("button", name="Retry what failed").click()
    wait_for(lambda: shop.hits["/gone.jpg"] > hits, what="another attempt")
    expect(page.get_by_text(ENDED)).to_be_visible()

    for link, content in ((ENDED, b"/api/image/"), ("Report", b"http_error"), ("ZIP", b"PK")):
        with page.expect_download() as download:
            page.get_by_role("link", name=link).click()
        assert content in Path(download.value.path()).read_bytes(), link


def test_table_of_an_unknown_system_is_read_as_the_person_says(
    page: Page, shop: Origin, tmp_path: Path
) -> None:
    url = f"{shop.url}/mug-1.jpg"
    drop(page, tmp_path, "list.csv", f"Ding;Bild;Preis\nA;{url};3\nB;{url};4\n")
    expect(page.get_by_text("columns of this file are not known")).to_be_visible()
    page.get_by_role("button", name="Read it like this").click()
    expect(page.locator("#answer")).to_contain_text("2 rows, 2 images on 1 host")


def test_columns_of_a_known_export_are_changed(page: Page, shop: Origin, tmp_path: Path) -> None:
    """The shop keeps its pictures in a column of its own, beside those of Shopify."""
    wanted = f"{shop.url}/mug-1.jpg"
    drop(
        page,
        tmp_path,
        "products_export.csv",
        "Handle,Title,Body (HTML),Vendor,Variant SKU,Image Src,Image Position,Our Pictures\n"
        f"mug,Mug,,Acme,M1,{shop.url}/gone.jpg,1,{wanted}\n"
        f"vase,Vase,,Acme,V1,{shop.url}/gone.jpg,1,{shop.url}/vase-1.jpg\n",
    )
    answer = page.locator("#answer")
    expect(answer).to_contain_text("Shopify")
    answer.get_by_text("Read other columns").click()
    images = answer.get_by_role("group", name="Image URLs")
    expect(images.get_by_label("Image Src")).to_be_checked()
    expect(answer.get_by_label("Key")).to_have_value('"Handle"')
    expect(answer.get_by_label("Name", exact=True)).to_have_value('"Title"')

    images.get_by_label("Image Src").uncheck()
    answer.get_by_role("button", name="Read it like this").click()
    expect(answer.get_by_role("alert")).to_contain_text("it names no image column")
    answer.get_by_role("button", name="Forget the columns that you chose").click()
    expect(answer).to_contain_text("Shopify")

    answer.get_by_text("Read other columns").click()
    images.get_by_label("Image Src").uncheck()
    images.get_by_label("Our Pictures").check()
    answer.get_by_label("Key").select_option("Variant SKU")
    answer.get_by_role("button", name="Read it like this").click()
    expect(answer).to_contain_text("Read by the columns that you chose: 2 rows, 2 images on 1 host")
    expect(images.get_by_label("Our Pictures")).to_be_checked()
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_url("**/r/*")
    expect(page.get_by_text(ENDED)).to_be_visible()
    page.get_by_text("The file in another form").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="image cells replaced").click()
    _, mug, _ = csv.reader(Path(download.value.path()).read_text().splitlines())
    assert mug[5] == f"{shop.url}/gone.jpg"
    assert "/api/image/" in mug[7]
    assert mug[7] != wanted
