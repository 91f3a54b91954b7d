"""The base URL of output images."""

from uuid import UUID

from halftone_shared.model.image_names import ImageUrls, image_name, storage_path

KEY = UUID("8243ff57-4d97-4733-bd91-3bb51286b55e")


def test_api_serves_images_by_their_name() -> None:
    name = image_name(KEY, 1, 1, "jpg")
    assert ImageUrls("https://api.example")(name) == f"https://api.example/api/image/{name}"


def test_image_base_url_is_followed_by_the_storage_key() -> None:
    name = image_name(KEY, 1, 1, "jpg")
    urls = ImageUrls("https://api.example", "https://cdn.example/shop")
    assert urls(name) == f"https://cdn.example/shop/{storage_path(name)}"


def test_name_of_the_client_s_own_is_percent_encoded() -> None:
    name = image_name(KEY, 1, 1, "jpg", own_name="Rød sko 50%")
    url = ImageUrls("https://api.example", "https://cdn.example")(name)
    assert url.endswith("/R%C3%B8d%20sko%2050%25.jpg")
