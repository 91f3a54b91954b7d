"""`python -m benchmarks [SECTION …]`: measures, prints a table per section, writes
results/SECTION.json.
"""

import argparse
from collections.abc import Callable

from benchmarks import (
    beside,
    codec,
    delta,
    outputs,
    page,
    processor,
    quality,
    scale,
    scaling,
    stages,
    throughput,
    uploads,
)
from benchmarks.figures import Figure, save, show
from benchmarks.peers import side_by_side

SECTIONS: dict[str, Callable[[], list[Figure]]] = {
    "end-to-end": throughput.end_to_end,
    "beside": beside.beside_the_codec,
    "delta": delta.unchanged_catalogue,
    "scaling": scaling.scaling,
    "stages": stages.stages,
    "codec": codec.jpegs,
    "codec-png": codec.pngs,
    "quality": quality.quality,
    "peer": throughput.against_peer,
    "peers": side_by_side.peers,
    "slow-shop": throughput.slow_shop,
    "million-rows": scale.million_rows,
    "million-rows-of-an-export": uploads.million_rows_of_an_export,
    "workbook": uploads.workbook_of_100_000_rows,
    "long-rows": uploads.long_rows,
    "blank-lines": uploads.blank_lines,
    "flat-cost": scale.flat_cost,
    "fairness": scale.fairness,
    "status": scale.status_answers,
    "variants": outputs.variants,
    "archive": outputs.archive,
    "page": page.page,
    "processor": processor.processor,
    "idle": scale.idle,
    "worker-memory": scale.worker_memory,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "sections", nargs="*", choices=[*SECTIONS, []], metavar="SECTION", help=", ".join(SECTIONS)
    )
    chosen = parser.parse_args().sections or list(SECTIONS)
    for name in chosen:
        measure = SECTIONS[name]
        figures = measure()
        show((measure.__doc__ or name).strip(), figures)
        save(name, figures)


main()
