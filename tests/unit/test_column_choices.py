"""The columns that the start page offers."""

import json

from halftone_api.pages.columns import column_choices


def test_columns_are_offered_by_name_or_by_number() -> None:
    header = ["SKU", "Photo", "", "photo ", "Title", "x" * 200]
    found = column_choices(header, {"key": "sku", "name": None, "images": [4]})
    assert [(each.label, json.loads(each.value)) for each in found] == [
        ("photo (column 4)", 4),
        ("SKU", "SKU"),
        ("Photo (column 2)", 2),
        ("Column 3", 3),
        ("Title", "Title"),
        (f"{'x' * 200} (column 6)", 6),
    ]
    assert [sorted(each.roles) for each in found] == [["images"], ["key"], [], [], [], []]


def test_name_that_repeats_chooses_all_of_its_columns() -> None:
    found = column_choices(["Image", "SKU", "Image"], {"key": "SKU", "images": ["Image"]})
    assert [(each.value, sorted(each.roles)) for each in found] == [
        ("1", ["images"]),
        ("3", ["images"]),
        ('"SKU"', ["key"]),
    ]


def test_choice_outside_the_header_is_left_out() -> None:
    found = column_choices(["SKU"], {"key": "Code", "images": [7]})
    assert [(each.value, sorted(each.roles)) for each in found] == [('"SKU"', [])]
