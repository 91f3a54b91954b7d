"""An owner's key is replaced while its clients call: none of their calls is refused."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from sqlalchemy import Engine

from halftone_shared.db.api_keys import create_key, revoke_key
from tests.support.csv_files import HEADER
from tests.support.halftone import Service, running_up, wait_for
from tests.support.images import jpeg
from tests.support.origin import Origin

CLIENTS = 4
CALLS = 6


class Clients:
    """Upload and read without a pause, each call with the key that is current when it starts."""

    def __init__(self, service: Service, row: str, key: str) -> None:
        self.key = key
        self.answers: Counter[tuple[int, str, int]] = Counter()
        self.uploaded: list[str] = []
        self._service, self._row = service, row
        self._stopping = threading.Event()
        self._lock = threading.Lock()

    @contextmanager
    def calling(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._call, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join()

    def answered(self, key: str) -> int:
        """How many calls with this key every client has had answered."""
        with self._lock:
            counts = Counter[int]()
            for (client, used, _), count in self.answers.items():
                counts[client] += count if used == key else 0
            return min(counts[client] for client in range(CLIENTS))

    def _call(self, number: int) -> None:
        with httpx.Client(base_url=self._service.url, timeout=60, trust_env=False) as http:
            mine: list[str] = []
            while not self._stopping.is_set():
                key = self.key
                headers = {"Authorization": f"Bearer {key}"}
                files = {"file": ("products.csv", (HEADER + self._row).encode(), "text/csv")}
                answers = [http.post("/api/upload", files=files, headers=headers)]
                if answers[0].status_code == 202:
                    mine.append(answers[0].json()["request_id"])
                paths = ["/api/requests", *(f"/api/status/{one}" for one in mine[:1])]
                answers += [http.get(path, headers=headers) for path in paths]
                with self._lock:
                    self.answers.update((number, key, answer.status_code) for answer in answers)
        with self._lock:
            self.uploaded += mine


def test_key_is_replaced_under_load(
    tmp_path: Path, database_url: str, engine: Engine, origin: Origin
) -> None:
    row = f"1,A,{origin.serve('/a.jpg', jpeg())}\n"
    with running_up(tmp_path, auth="keys", database_url=database_url) as service:
        with engine.connect() as connection:
            old = create_key(connection, "shop", name="2026")
        clients = Clients(service, row, old.secret)
        with clients.calling():
            wait_for(lambda: clients.answered(old.secret) >= CALLS, 60, "calls with the old key")
            with engine.connect() as connection:
                new = create_key(connection, "shop", name="2027")
            clients.key = new.secret
            wait_for(lambda: clients.answered(new.secret) >= CALLS, 60, "calls with the new key")
            with engine.connect() as connection:
                revoke_key(connection, "2026")
            refused = service.http.get(
                "/api/requests", headers={"Authorization": f"Bearer {old.secret}"}
            )
            before = clients.answered(new.secret)
            wait_for(lambda: clients.answered(new.secret) >= before + CALLS, 60, "calls after it")

        assert refused.status_code == 401
        assert {status for _, _, status in clients.answers} == {200, 202}
        headers = {"Authorization": f"Bearer {new.secret}"}
        for request_id in clients.uploaded:
            wait_for(lambda: _has_ended(service, request_id, headers), 60, "the end")  # noqa: B023
            answer = service.http.get(f"/api/download/{request_id}", headers=headers)
            assert answer.status_code == 200


def _has_ended(service: Service, request_id: str, headers: dict[str, str]) -> bool:
    answer = service.http.get(f"/api/status/{request_id}", headers=headers)
    return bool(answer.json()["status"] == "COMPLETED")
