"""Fixtures. Each real server starts once a session; each test gets its own database and virtual
host.
"""

import os
import re
import signal
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from halftone_shared.db.engine import make_engine
from tests.support import rabbitmq
from tests.support.halftone import Service, running_separately, running_up
from tests.support.leftovers import MarkedRun, mark_this_run
from tests.support.origin import Origin, running_origin
from tests.support.postgres import TestPostgres, running_postgres
from tests.support.rabbitmq import TestRabbitmq, running_rabbitmq

# IDs and secrets that a test's parameters may contain. They are new in each process.
_RANDOM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-|whsec_[A-Za-z0-9+/]{32}")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Keep random values out of test names, which must be the same in all xdist workers."""
    return argname if isinstance(val, str) and _RANDOM.search(val) else None


@pytest.hookimpl(optionalhook=True)  # pytest runs without pytest-xdist, too
def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are processors: tests wait for a fifth of their time."""
    return (os.cpu_count() or 1) + 1


_RUN = pytest.StashKey[MarkedRun]()


def pytest_configure(config: pytest.Config) -> None:
    if _is_controller(config):
        config.stash[_RUN] = mark_this_run()


@pytest.hookimpl(trylast=True)  # after pytest-xdist has ended its workers
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run when it leaves a process behind."""
    if not _is_controller(session.config):
        return
    if leftovers := session.config.stash[_RUN].end():
        print("", "The tests left processes behind, now killed:", *leftovers, sep="\n")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _is_controller(config: pytest.Config) -> bool:
    """Whether this process is the main pytest process, not an xdist worker."""
    return not hasattr(config, "workerinput")


@pytest.fixture(scope="session", autouse=True)
def signals_are_heard() -> Iterator[None]:
    """Restore default signal handling for programs that tests start: under nohup, or in the
    background of a shell, they would inherit ignored signals.
    """
    ignored = [
        number
        for number in (signal.SIGINT, signal.SIGHUP)
        if signal.getsignal(number) is signal.SIG_IGN
    ]
    for number in ignored:
        signal.signal(number, lambda *_: None)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(scope="session")
def postgres() -> Iterator[TestPostgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def database_url(postgres: TestPostgres) -> Iterator[str]:
    url = postgres.new_database()
    yield url
    postgres.drop_database(url)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = make_engine(database_url, pool_size=20)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def broker() -> Iterator[TestRabbitmq]:
    if not rabbitmq.is_installed():
        reason = (
            "RabbitMQ is not installed: run `apt-get install rabbitmq-server` (as root, on Debian)"
        )
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with running_rabbitmq() as server:
        yield server


@pytest.fixture
def rabbitmq_url(broker: TestRabbitmq) -> str:
    return broker.new_vhost()


@pytest.fixture
def origin() -> Iterator[Origin]:
    with running_origin() as server:
        yield server


@pytest.fixture
def other_origin() -> Iterator[Origin]:
    """A second host: the same address, another port."""
    with running_origin() as server:
        yield server


@pytest.fixture(scope="session")
def embedded_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`halftone up` with its embedded PostgreSQL and queue."""
    with running_up(tmp_path_factory.mktemp("embedded")) as running:
        yield running


@pytest.fixture(scope="session")
def separate_service(
    postgres: TestPostgres, broker: TestRabbitmq, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """`halftone-api` and `halftone-worker` on PostgreSQL and RabbitMQ."""
    folder = tmp_path_factory.mktemp("separate")
    with running_separately(folder, postgres.new_database(), broker.new_vhost()) as running:
        yield running


@pytest.fixture(params=["embedded", pytest.param("rabbitmq", marks=pytest.mark.broker)])
def service(request: pytest.FixtureRequest) -> Service:
    """A running halftone, once on the embedded default and once on PostgreSQL and RabbitMQ. Each
    starts when a test first asks for it, and all tests of the session share it.
    """
    name = {"embedded": "embedded_service", "rabbitmq": "separate_service"}[request.param]
    found: Service = request.getfixturevalue(name)
    return found
