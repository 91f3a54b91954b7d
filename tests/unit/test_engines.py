"""A worker names the image libraries that it has."""

from importlib.metadata import version

from halftone_workers.engines import engine_versions


def test_installed_image_libraries_are_named_and_nothing_else() -> None:
    found = engine_versions()
    assert found["pillow"] == version("pillow")
    assert not {"halftone-shared", "sqlalchemy", "uvloop"} & found.keys()
