"""Write docs/reference/options.md, error-codes.md and presets.md from their declarations.

`python -m scripts.declared_reference`, or `make generate`. A test compares them.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from halftone_api.errors import ProblemCode
from halftone_api.output.report import REPORT_COLUMNS
from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.options import IMAGE_OPTIONS, MAX_VARIANTS, default_text
from halftone_shared.presets import load_presets
from scripts.markdown_lines import wrap

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
_WRITTEN = "<!-- Written by `make generate` from {source}: change that. -->"


def options_page() -> str:
    rows = (
        (
            f"`{name}`",
            option.kind.expected,
            default_text(name) or "none",
            _modes(name),
            option.meaning,
        )
        for name, option in IMAGE_OPTIONS.items()
    )
    return _page(
        "Image options",
        "halftone_shared/model/options.py",
        [
            "Fields of the upload's form, options of `halftone submit` (`--max-bytes` for",
            "`max_bytes`) and arguments of the Python library. A value out of bounds is refused",
            "with 400 `invalid_option`, which names the option.",
            "",
            *_table(("option", "values", "default", "modes", "meaning"), rows),
            "",
            "A variant has a `name` and any option that is not about the whole request. It starts",
            "from the request's options without `width`, `height`, `fit`, `enlarge` and `scale`.",
            f"There are at most {MAX_VARIANTS} of them.",
            "",
            "The steps run in this order: open, upright, colour, crop, trim, resize, pad, filters,",
            "watermark, encode, choose.",
        ],
    )


def error_codes_page() -> str:
    images = (
        (f"`{code}`", code.meaning, _yes(code.retried), code.remedy) for code in ImageErrorCode
    )
    problems = ((f"`{code}`", str(code.status), code.meaning, code.remedy) for code in ProblemCode)
    columns = ((f"`{column.name}`", column.description) for column in REPORT_COLUMNS)
    return _page(
        "Error codes and the report",
        "error codes and report columns",
        [
            "## Of images",
            "",
            'In `error.code` of an image, in `errors_by_code`, and in the report. "Tried again":',
            "by the service itself, with growing pauses, before the error counts.",
            "",
            *_table(("code", "what happened", "tried again", "what to do"), images),
            "",
            "## Of calls",
            "",
            "In `code` of a problem (`application/problem+json`).",
            "",
            *_table(("code", "status", "what happened", "what to do"), problems),
            "",
            "## Columns of the report",
            "",
            "`GET /api/download/{id}?report=images` has one row an image, one more for each",
            "variant.",
            "",
            *_table(("column", "meaning"), columns),
        ],
    )


def presets_page() -> str:
    lines = [
        "`preset=NAME` gives an upload the options below. An option given beside it wins. Each",
        "output is then checked against the rules: `pass`, `warn` or `fail`, with figures. The",
        "rules are files in `halftone_shared/presets`, one a marketplace, with their date.",
    ]
    for preset in load_presets().values():
        options = ", ".join(f"`{name}={value}`" for name, value in preset.options.items())
        lines += ["", f"## `{preset.name}`: {preset.title}", ""]
        lines += [*wrap([f"As of {preset.as_of}. Options: {options}."]), ""]
        rows = (
            (f"`{rule.name}`", _level(rule.level, rule.enforced_from), rule.source)
            for rule in preset.rules
        )
        lines += _table(("rule", "breach", "as the marketplace says it"), rows)
    return _page("Presets of marketplaces", "halftone_shared/presets/*.toml", lines)


PAGES: Mapping[str, Callable[[], str]] = {
    "options.md": options_page,
    "error-codes.md": error_codes_page,
    "presets.md": presets_page,
}


def _page(title: str, source: str, lines: Iterable[str]) -> str:
    return "\n".join([f"# {title}", "", _WRITTEN.format(source=source), "", *lines, ""])


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    cells = [header, tuple("---" for _ in header), *rows]
    return ["| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in cells]


def _modes(name: str) -> str:
    modes = IMAGE_OPTIONS[name].modes
    return "all" if modes is None else ", ".join(f"`{mode}`" for mode in sorted(modes))


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"


def _level(level: str, enforced_from: object) -> str:
    return f"{level} from {enforced_from}, warn before" if enforced_from else level


def main() -> None:
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page())


if __name__ == "__main__":
    main()
