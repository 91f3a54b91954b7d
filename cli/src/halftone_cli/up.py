"""`halftone up`: the whole service on one machine, with nothing but this package installed.

Servers that the environment names are used (HALFTONE_DATABASE_URL, HALFTONE_RABBITMQ_URL,
HALFTONE_STORAGE_URL); the others are embedded. /run/secrets is ignored, because the demo runs this
command and must not touch a real database named there. In both cases API and workers are separate
processes, the same that `halftone-api` and `halftone-worker` start elsewhere.
"""

import http
import http.client
import ipaddress
import logging
import multiprocessing
import os
import socket
import sys
import threading
import time
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection
from pathlib import Path

import structlog

from halftone_api.settings import ApiSettings
from halftone_cli.embedded_postgres import USUAL_CONNECTIONS, EmbeddedPostgres, PostgresUnavailable
from halftone_cli.home import Home
from halftone_cli.supervisor import Child, Supervisor, end_on_stop_signals
from halftone_shared.errors import BadSettings, DatabaseUnavailable
from halftone_shared.model.signing import new_secret
from halftone_shared.runtime.logs import configure_logs
from halftone_shared.runtime.settings import IN_PROCESS_QUEUE, SettingsT, load_settings
from halftone_shared.runtime.variables import PREFIX, unknown_variables
from halftone_shared.storage import ImageStore
from halftone_workers.settings import WorkerSettings

log = structlog.get_logger(__name__)

# After their grace period, workers hand back interrupted work; this is a little longer than that
# takes.
HAND_BACK_SECONDS = 15.0
# The API's open calls, its dispatcher and its sweeper have 10 s each.
API_GRACE_SECONDS = 35.0
READY_TIMEOUT_SECONDS = 60.0
# Connections to the database: the API's outside its pool, a worker's with those of its
# background threads, and some for commands.
API_CONNECTIONS, WORKER_CONNECTIONS, COMMAND_CONNECTIONS = 6, 11, 10


class CannotStart(Exception):
    """`halftone up` cannot start; the message says why and what to do."""


def run_up(*, host: str, port: int, home_folder: Path, workers: int) -> None:
    """Start everything, serve until SIGTERM, Ctrl-C or a closed terminal, then stop everything.
    Raises CannotStart and BadSettings.
    """
    try:
        home = Home.at(home_folder)
        environment = _environment(home, host, port, workers)
    except OSError as error:
        raise CannotStart(
            f"{str(home_folder)!r} cannot be used: {error.strerror}. Name another with --home."
        ) from None
    api_settings, worker_settings = _load_settings(environment, workers)
    _check_ports(host, port, worker_settings, workers)
    configure_logs(api_settings.log_level, api_settings.log_format, service="up")
    grace_seconds = max(
        API_GRACE_SECONDS, worker_settings.shutdown_grace_seconds + HAND_BACK_SECONDS
    )
    supervisor = Supervisor(grace_seconds=grace_seconds)
    postgres = None

    def keep_postgres_running() -> None:
        if postgres is not None and not postgres.is_running():
            log.warning("PostgreSQL died and is started again")
            try:
                postgres.start()
            except PostgresUnavailable as error:
                log.error("PostgreSQL is away", reason=str(error))

    try:
        if not environment.get(PREFIX + "DATABASE_URL"):
            wanted = (
                api_settings.database_pool_size + API_CONNECTIONS + workers * WORKER_CONNECTIONS
            )
            postgres = EmbeddedPostgres(
                home.postgres, max_connections=max(wanted + COMMAND_CONNECTIONS, USUAL_CONNECTIONS)
            )
            postgres.start()
            environment[PREFIX + "DATABASE_URL"] = postgres.url
        _migrate(environment[PREFIX + "DATABASE_URL"], supervisor)
        public_url = environment[PREFIX + "PUBLIC_URL"]
        threading.Thread(target=_announce, args=(host, port, public_url), daemon=True).start()
        supervisor.run(_children(environment, workers), check=keep_postgres_running)
    except (CannotStart, PostgresUnavailable) as error:
        if (
            not supervisor.is_stopping
        ):  # Ctrl-C in a terminal also ends the programs that start PostgreSQL and migrate
            raise CannotStart(str(error)) from None
    finally:
        if postgres is not None:
            postgres.stop()


def _children(environment: dict[str, str], workers: int) -> list[Child]:
    return [Child("api", [sys.executable, "-m", "halftone_api"], environment)] + [
        Child(
            f"worker {number}",
            [sys.executable, "-m", "halftone_workers"],
            _worker_environment(environment, number),
        )
        for number in range(1, workers + 1)
    ]


def _environment(home: Home, host: str, port: int, workers: int) -> dict[str, str]:
    """The children's environment: variables that are set are kept, the others get single-machine
    values.
    """
    cores = os.cpu_count() or 1
    defaults = {
        "RABBITMQ_URL": IN_PROCESS_QUEUE,
        "STORAGE_URL": home.storage_url,
        "PUBLIC_URL": f"http://{_for_url(host)}:{port}",
        "WEBHOOK_SECRET": home.secret("webhook_secret", new_secret()),
        "AUTH": "off" if _is_loopback(host) else "keys",
        "CODEC_PROCESSES": str(max(1, cores // workers)),
        "LOG_FORMAT": "console",
        "LOG_LEVEL": "info",
    }
    unknown = unknown_variables()  # this process warns about them, so the children need not
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in unknown and (value or not name.startswith(PREFIX))
    }
    for name, value in defaults.items():
        environment.setdefault(PREFIX + name, value)
    return environment | {PREFIX + "API_HOST": host, PREFIX + "API_PORT": str(port)}


def _load_settings(environment: dict[str, str], workers: int) -> tuple[ApiSettings, WorkerSettings]:
    """Load the settings as API and workers will, because a bad setting would make them restart
    again and again. Returns the first worker's; other workers differ only in their port. Raises
    BadSettings, with all problems.
    """
    problems: list[str] = []
    api = _load(ApiSettings, environment, problems)
    last = _load(WorkerSettings, _worker_environment(environment, workers), problems)
    worker = _load(WorkerSettings, environment, problems)
    if api is None or worker is None or last is None:
        raise BadSettings(problems)
    ImageStore(worker.storage_url)
    return api, worker


def _load(
    settings_class: type[SettingsT], environment: dict[str, str], problems: list[str]
) -> SettingsT | None:
    variables = {name: PREFIX + name.upper() for name in settings_class.model_fields}
    given = {
        name: environment[variable]
        for name, variable in variables.items()
        if variable in environment
    }
    try:
        return load_settings(settings_class, **({"database_url": "postgresql://embedded"} | given))
    except BadSettings as error:
        problems += error.problems
        return None


def _worker_environment(environment: dict[str, str], number: int) -> dict[str, str]:
    """Each worker has its own metrics port, counting up from the configured one."""
    first_port = environment.get(PREFIX + "METRICS_PORT", "")
    if not first_port.isdecimal():
        return environment
    return environment | {PREFIX + "METRICS_PORT": str(int(first_port) + number - 1)}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _for_url(host: str) -> str:
    """The host name or address that a client on this machine uses."""
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _check_ports(host: str, port: int, worker: WorkerSettings, workers: int) -> None:
    """Bind all ports together, because two of them may be the same. Raises CannotStart."""
    wanted = [(host, port, "--port")]
    if (first_port := worker.metrics_port) is not None:
        wanted += [
            (worker.metrics_host, first_port + at, PREFIX + "METRICS_PORT") for at in range(workers)
        ]
    with ExitStack() as probes:
        for address, number, option in wanted:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            probe = probes.enter_context(socket.socket(family))
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, number))
                probe.listen()
            except (OSError, UnicodeError) as error:
                reason = getattr(error, "strerror", error)
                raise CannotStart(
                    f"{address} port {number} cannot be used: {reason}. Name another with {option}."
                ) from None


def _migrate(database_url: str, supervisor: Supervisor) -> None:
    """Migrate in a process of its own, so that its modules do not stay in memory while serving. It
    is forked, because this process has already loaded most of what a migration needs.
    """
    fork = multiprocessing.get_context("fork")
    reason, for_reason = fork.Pipe(duplex=False)
    migration = fork.Process(target=_run_migrations, args=(database_url, for_reason))
    migration.start()
    supervisor.finish(migration)
    if migration.exitcode != 0:
        why = reason.recv() if reason.poll() else f"exit code {migration.exitcode}"
        raise CannotStart(f"The database cannot be migrated: {why}")


def _run_migrations(database_url: str, for_reason: Connection) -> None:
    end_on_stop_signals()
    # Alembic logs each of its steps; set before the import, which logs, too.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from halftone_db import migrate

    try:
        migrate(database_url)
    except DatabaseUnavailable as error:
        for_reason.send(str(error))
        raise SystemExit(1) from None


def _is_ready(host: str, port: int) -> bool:
    """Ask the API directly, bypassing any proxy of the environment. Raises OSError and
    HTTPException.
    """
    connection = http.client.HTTPConnection(_for_url(host).strip("[]"), port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    finally:
        connection.close()


def _announce(host: str, port: int, public_url: str) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        try:
            if _is_ready(host, port):
                break
        except (OSError, UnicodeError, http.client.HTTPException):
            pass
        time.sleep(0.1)
    else:
        log.error("not ready", seconds=READY_TIMEOUT_SECONDS)
        return
    with suppress(OSError):  # keep serving if nobody reads the output
        print(f"halftone is ready: {public_url}  (Ctrl-C stops it)", flush=True)
