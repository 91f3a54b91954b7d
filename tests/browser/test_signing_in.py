"""Signing in and out, with keys."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, FilePayload, Page, expect

from halftone_shared.db.api_keys import create_key
from halftone_shared.db.engine import make_engine, transaction
from tests.browser.pictures import catalogue
from tests.support.halftone import Service, running_separately
from tests.support.origin import Origin
from tests.support.postgres import TestPostgres


@pytest.fixture(scope="module")
def database(postgres: TestPostgres) -> str:
    return postgres.new_database()


@pytest.fixture(scope="module")
def guarded(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_separately(
        tmp_path_factory.mktemp("keys"), database, "in-process", workers=0, auth="keys"
    ) as service:
        yield service


def key_of(database: str, owner: str) -> str:
    engine = make_engine(database, pool_size=1)
    with transaction(engine) as connection:
        key = create_key(connection, owner)
    engine.dispose()
    return key.secret


def sign_in(page: Page, secret: str) -> None:
    page.get_by_label("API key").fill(secret)
    page.get_by_role("button", name="Sign in").click()


def test_person_signs_in_uploads_and_signs_out(
    browser: Browser, guarded: Service, database: str, shop: Origin
) -> None:
    secret, other = key_of(database, "shop"), key_of(database, "other")
    context = browser.new_context(base_url=guarded.url)
    page = context.new_page()
    page.goto("/requests")
    expect(page).to_have_url(f"{guarded.url}/sign-in?next=/requests")
    sign_in(page, "ht_wrong")
    expect(page.get_by_role("alert")).to_contain_text("not known")
    sign_in(page, secret)
    expect(page).to_have_url(f"{guarded.url}/requests")
    assert secret not in str(context.cookies()) + str(context.storage_state())
    page.goto("/")
    content = catalogue(shop.url).encode()
    page.set_input_files("#file", FilePayload(name="a.csv", mimeType="text/csv", buffer=content))
    expect(page.locator("#answer")).to_contain_text("8 images")
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_url("**/r/*")
    address = page.url
    page.get_by_role("button", name="Sign out").click()
    page.goto(address)
    sign_in(page, other)
    expect(page.get_by_text("There is no request")).to_be_visible()
    context.close()


def test_session_that_has_ended_is_said_and_begun_again(
    browser: Browser, guarded: Service, database: str, shop: Origin
) -> None:
    context = browser.new_context(base_url=guarded.url)
    page = context.new_page()
    page.goto("/")
    secret = key_of(database, "late")
    sign_in(page, secret)
    content = catalogue(shop.url).encode()
    file = FilePayload(name="a.csv", mimeType="text/csv", buffer=content)
    context.clear_cookies()
    page.set_input_files("#file", file)
    refusal = page.get_by_role("alert")
    expect(refusal).to_contain_text("Your session has ended")
    refusal.get_by_role("link").click()
    sign_in(page, secret)
    expect(page).to_have_url(f"{guarded.url}/")
    page.goto("/requests")
    context.clear_cookies()
    page.get_by_role("searchbox").fill("a")
    expect(page).to_have_url(f"{guarded.url}/sign-in?next=/requests")
    context.close()
