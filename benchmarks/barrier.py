"""How many products a second the completion barrier settles, from the start of a large request to
its end.

`python -m benchmarks.barrier`: one request, eight connections, a tenth of all settlements sent
twice, every commit on the disk (fsync). pgbench sends the statement first, which measures the
barrier alone; then workers' own Python sends it, in as many processes. PostgreSQL runs on the same
cores.
"""

import argparse
import multiprocessing
import random
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from halftone_shared.db.barrier import SETTLE, settle_product
from halftone_shared.db.engine import make_engine
from halftone_shared.db.products import Claim
from halftone_shared.db.tables import COUNTERS
from halftone_shared.model.results import ProductKey, ProductResult
from tests.support.postgres import TestPostgres, running_postgres
from tests.support.stored import execute, good_image, query, store_request

PARTS = 10
_CLAIM_ALL = """
    UPDATE products SET status = 'PROCESSING', claims = 1, attempts = 1,
        lease_until = now() + interval '1 hour'
    WHERE request_id = :request_id
"""
# Client n of c settles the products n + 1, n + 1 + c, n + 1 + 2c, …; `turn` counts its
# transactions.
_PGBENCH_SCRIPT = """
\\set turn :turn + 1
\\set seq :turn * :clients + :client_id + 1
\\set again random(1, 1000000)
{statement};
\\if :again <= :duplicates
{statement};
\\endif
"""
Moments = list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, default=120_000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument(
        "--duplicates", type=float, default=0.1, help="share of settlements that are sent twice"
    )
    arguments = parser.parse_args()
    share = arguments.products // arguments.connections
    for name, settle_all in (("pgbench", _by_pgbench), ("Python", _by_python)):
        with running_postgres(durable=True) as postgres:
            url = postgres.new_database()
            engine = make_engine(url, pool_size=1)
            request_id = store_request(
                engine, share * arguments.connections, webhook_url="http://127.0.0.1/"
            )
            execute(engine, _CLAIM_ALL, request_id=request_id)
            with engine.connect() as connection:
                connection.execute(text("VACUUM ANALYZE products"))
            print(
                f"{share * arguments.connections} products,"
                f" {arguments.connections} connections of {name}"
            )
            _report(
                settle_all(
                    postgres, url, request_id, share, arguments.connections, arguments.duplicates
                )
            )
            _verify(engine)
            engine.dispose()


def _by_pgbench(
    postgres: TestPostgres,
    url: str,
    request_id: UUID,
    share: int,
    connections: int,
    duplicates: float,
) -> Moments:
    values = {
        "request_id": f"'{request_id}'",
        "token": "1",
        "status": "'COMPLETED'",
        "images": "'[{}]'",
        "files": "'{name}'",
        "product_failed_images": "0",
        **{
            name: "1" if name in ("processed_products", "processed_images") else "0"
            for name in COUNTERS
        },
    }
    statement = SETTLE.replace("%(seq)s", ":seq").replace("%%", "%")
    statement = re.sub(r"%\((\w+)\)s", lambda found: values[found[1]], statement)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "settle.sql"
        script.write_text(_PGBENCH_SCRIPT.format(statement=statement))
        variables = {
            "turn": -1,
            "clients": connections,
            "duplicates": round(duplicates * 1_000_000),
        }
        subprocess.run(
            [
                postgres.program("pgbench"),
                *("-n", "-M", "prepared", "-f", script, "-t", str(share), "-c", str(connections)),
                *("-l", f"--log-prefix={folder}/log"),
                *(
                    argument
                    for name, value in variables.items()
                    for argument in ("-D", f"{name}={value}")
                ),
                url,
            ],
            check=True,
            capture_output=True,
        )
        (log,) = Path(folder).glob("log.*")
        lines = [line.split() for line in log.read_text().splitlines()]
    return sorted(int(line[4]) + int(line[5]) / 1e6 for line in lines)


def _by_python(
    _: TestPostgres, url: str, request_id: UUID, share: int, connections: int, duplicates: float
) -> Moments:
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(connections)
    with context.Pool(connections, initializer=_keep, initargs=(together,)) as pool:
        settle = partial(_settle_part, url, request_id, share, connections, duplicates)
        parts = pool.map(settle, range(connections), chunksize=1)
    return sorted(moment for part in parts for moment in part)


_wait_for_all: Callable[[], Any]


def _keep(together: Any) -> None:
    global _wait_for_all
    _wait_for_all = together.wait


def _settle_part(
    url: str, request_id: UUID, share: int, connections: int, duplicates: float, part: int
) -> Moments:
    """Settle one connection's share; return when each product was counted."""
    engine = make_engine(url, pool_size=1, pre_ping=False)
    result = ProductResult([good_image("name")])
    moments = []
    with engine.connect() as connection:
        _wait_for_all()
        for seq in _sequence(part, share, connections, duplicates):
            claim = Claim(ProductKey(request_id, seq), 1, 1, ["u"], [None], {}, request_id)
            if settle_product(connection, claim, result).counted:
                moments.append(time.time())
    engine.dispose()
    return moments


def _sequence(part: int, share: int, connections: int, duplicates: float) -> Iterator[int]:
    rng = random.Random(part)
    for turn in range(share):
        seq = turn * connections + part + 1
        yield seq
        if rng.random() < duplicates:
            yield seq


def _report(moments: Moments) -> None:
    size = len(moments) // PARTS
    rates = [
        size / (moments[(part + 1) * size - 1] - moments[part * size]) for part in range(PARTS)
    ]
    print(f"  {len(moments) / (moments[-1] - moments[0]):.0f} finishes a second")
    print(f"  by tenths of the request: {' '.join(f'{rate:.0f}' for rate in rates)}")


def _verify(engine: Engine) -> None:
    (row,) = query(
        engine,
        """
        SELECT status, processed_products, total_products, open_shards,
               (SELECT count(*) FROM webhook_events) AS events
        FROM requests
        """,
    )
    assert (row.status, row.open_shards, row.events) == ("COMPLETED", 0, 1), row
    assert row.processed_products == row.total_products, row
    print(f"  {row.status}: {row.processed_products} products counted, {row.events} ending")


if __name__ == "__main__":
    main()
