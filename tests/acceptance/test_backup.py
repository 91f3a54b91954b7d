"""Backup and restore as in docs/how-to/operate.md: ended requests are kept, running ones
continue.
"""

import os
import shutil
import subprocess
from pathlib import Path

import psycopg
from sqlalchemy import Engine

from halftone_shared.runtime.settings import IN_PROCESS_QUEUE
from tests.support.api import path_of
from tests.support.halftone import PYTHON, running_separately, wait_for
from tests.support.images import jpeg
from tests.support.origin import Origin
from tests.support.postgres import TestPostgres
from tests.support.stored import claimed, execute, store_request


def test_restored_backup_goes_on(
    postgres: TestPostgres, engine: Engine, database_url: str, tmp_path: Path, origin: Origin
) -> None:
    csv = f"Serial Number,Product Name,Input Image Urls\n1,SKU1,{origin.serve('/a.jpg', jpeg())}\n"
    with running_separately(tmp_path / "before", database_url, IN_PROCESS_QUEUE) as service:
        ended_id = service.accepted(csv)
        service.ended(ended_id)
        image = path_of(service.products(ended_id)[0]["output_image_urls"][0])
        content = service.http.get(image).content
        wait_for(lambda: "worker started" in service.log.read_text(), what="worker")
    waiting_id = store_request(engine, 2)
    execute(engine, "UPDATE products SET input_image_urls = ARRAY[:url]", url=origin.url + "/a.jpg")
    claimed(engine, waiting_id, 1)
    execute(
        engine,
        "UPDATE products SET lease_until = now() - interval '1 day' WHERE lease_until IS NOT NULL",
    )

    dump = tmp_path / "halftone.dump"
    subprocess.run(
        [postgres.program("pg_dump"), "--format=custom", "--file", str(dump), database_url],
        check=True,
    )
    shutil.copytree(tmp_path / "before" / "storage", tmp_path / "after" / "storage")
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE restored")
    restored = postgres.url("restored")
    subprocess.run(
        [postgres.program("pg_restore"), "--no-owner", "--dbname", restored, str(dump)], check=True
    )

    variables = os.environ | {"HALFTONE_DATABASE_URL": restored}
    subprocess.run(
        [PYTHON, "-m", "halftone_cli", "migrate"], env=variables, check=True, capture_output=True
    )
    with running_separately(tmp_path / "after", restored, IN_PROCESS_QUEUE) as service:
        assert service.status(ended_id)["status"] == "COMPLETED"
        assert service.http.get(image).content == content
        assert service.ended(str(waiting_id))["processed_images"] == 2
        subprocess.run(
            [PYTHON, "-m", "halftone_cli", "doctor"], env=variables, check=True, capture_output=True
        )
