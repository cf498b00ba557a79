"""Fixtures of all tests: one real broker for the whole run, unique topic names, and an HTTP endpoint."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import structlog
from hypothesis import HealthCheck, settings

from deploy.dev.broker import Broker, start_broker
from deploy.dev.receiver import Receiver
from schemas.records.topics import TopicNames
from tests.support.parts import need, required
from tests.support.pipeline import Pipeline
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.roles import RoleStarter
from tests.support.shared_broker import BrokerHost, ask
from tests.support.spread import Spreading, place_of, unit_of
from tests.support.subscriptions import MakeWriter, kafka_of, making_writers, subscriptions_topic
from tests.support.table import table_of
from tests.support.topics import remove_topics

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController  # type: ignore[import-untyped]  # no type information

# No deadline: the time of an example depends on the machine. A failure prints how to reproduce it.
settings.register_profile(
    "signpost", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("signpost")

BOOTSTRAP = "SIGNPOST_KAFKA_BOOTSTRAP_SERVERS"
# The file system in memory of Linux, and its free space in bytes for a whole run.
MEMORY = Path("/dev/shm")
MEMORY_NEEDED = 4 * 1024**3
HOST = pytest.StashKey[BrokerHost]()
HOST_ADDRESS = "broker_host"
QUICK_START = "-XX:TieredStopAtLevel=1"


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a misspelt SIGNPOST_TEST_REQUIRE before the first test, and share one broker between test processes."""
    required()
    # A shell starts background jobs with SIGINT ignored, which the processes of the tests would inherit.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Brokers of single tests live for seconds. Without Java's second compiler (C2) a start takes half of the CPU.
    os.environ.setdefault("JAVA_TOOL_OPTIONS", QUICK_START)
    _keep_bytecode(config)
    _keep_data_in_memory()
    if _is_worker(config) or config.getoption("dist", "no") == "no":
        return
    config.stash[HOST] = BrokerHost(lambda: _start_shared(config))
    if config.getoption("dist") == "load":  # the default of `-n`
        config.pluginmanager.register(Spreading())


def _keep_bytecode(config: pytest.Config) -> None:
    """If Python must not write bytecode next to its sources, let processes keep it in the cache of the tests.

    Otherwise each role compiles all its modules at each start.
    """
    cache = getattr(config, "cache", None)  # None with `-p no:cacheprovider`
    if cache is not None and os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        os.environ.setdefault("PYTHONPYCACHEPREFIX", str(cache.mkdir("bytecode")))


def _keep_data_in_memory() -> None:
    """Put temporary folders into memory where there is room: creating files takes half of a test broker's CPU."""
    if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_NEEDED:
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None  # chosen again


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the results of all scenarios, from every test process."""
    reports = [one for name in ("passed", "failed") for one in terminalreporter.getreports(name) if one.when == "call"]
    if lines := table_of(sorted(reports, key=lambda report: report.start)):
        terminalreporter.section("scenarios")
        for line in lines:
            terminalreporter.write_line(line)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the broker of the run."""
    if host := config.stash.get(HOST, None):
        host.close()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    """Pass the address of the broker host to a test process."""
    node.workerinput[HOST_ADDRESS] = node.config.stash[HOST].address


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With several processes, run the longest tests first."""
    if _is_worker(config):
        items.sort(key=lambda item: place_of(unit_of(item.nodeid, config.rootpath)))


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _start_shared(config: pytest.Config) -> Broker:
    """Start the broker of all test processes. It lives long enough for Java's second compiler to pay."""
    if os.environ.get("JAVA_TOOL_OPTIONS") == QUICK_START:
        del os.environ["JAVA_TOOL_OPTIONS"]  # this process starts no other broker
    return _start(config, os.environ.get(BOOTSTRAP))


def _start(config: pytest.Config, bootstrap_servers: str | None) -> Broker:
    """Start a broker, and show its kind and its download on the terminal, past pytest's capture."""
    capture = config.pluginmanager.get_plugin("capturemanager")
    reporter = config.pluginmanager.get_plugin("terminalreporter")

    def show(line: str) -> None:
        if capture is None or reporter is None:
            return
        with capture.global_and_fixture_disabled():
            reporter.ensure_newline()
            reporter.write_line(line)

    return start_broker(bootstrap_servers, on_progress=show)


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """The broker that all tests of the run share: the one of SIGNPOST_KAFKA_BOOTSTRAP_SERVERS if that is set."""
    host: str | None = getattr(request.config, "workerinput", {}).get(HOST_ADDRESS)
    with ask(host) if host else _start(request.config, os.environ.get(BOOTSTRAP)) as shared:
        yield shared


@pytest.fixture
def own_broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A broker for one test, which may stop, kill and start it."""
    with _start(request.config, None) as own:
        yield own


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Remove log handlers that a command installed within the test: pytest closes their streams."""
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
        root = logging.getLogger()
        root.handlers[:] = [handler for handler in root.handlers if type(handler) is not logging.StreamHandler]


@pytest.fixture(autouse=True)
def restored_gc() -> Iterator[None]:
    """Collect what a role in this process has exempted from collection: its clients have threads and sockets."""
    thresholds = gc.get_threshold()
    yield
    if gc.get_threshold() != thresholds:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        gc.collect()


def _unique() -> str:
    return f"test-{uuid4().hex[:12]}."


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> Iterator[str]:
    """A unique prefix for topics, groups and transactional ids. Its topics are deleted after the test."""
    unique = _unique()
    shared: Broker | None = request.getfixturevalue("broker") if "broker" in request.fixturenames else None
    yield unique
    if shared is not None:
        remove_topics(shared.bootstrap_servers, unique)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """An HTTP endpoint on 127.0.0.1 that responds with 200 until the test sets `behave`."""
    with Receiver() as endpoint:
        yield endpoint


@pytest.fixture
def start_role(tmp_path: Path) -> Iterator[RoleStarter]:
    """Start role processes with `start_role(["router"], env)`. They are killed when the test ends."""
    with RoleStarter.into(tmp_path) as starter:
        yield starter


@pytest.fixture
def pipeline(broker: Broker, prefix: str, start_role: RoleStarter) -> Pipeline:
    """Topics of this test alone, and roles to start on them."""
    return Pipeline(broker.bootstrap_servers, prefix, start_role)


@pytest.fixture(scope="module")
def module_prefix(broker: Broker) -> Iterator[str]:
    """Like `prefix`, for all tests of a file."""
    unique = _unique()
    yield unique
    remove_topics(broker.bootstrap_servers, unique)


@pytest.fixture(scope="module")
def module_start_role(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoleStarter]:
    """Like `start_role`, for all tests of a file."""
    with RoleStarter.into(tmp_path_factory.mktemp("roles")) as starter:
        yield starter


@pytest.fixture(scope="module")
def module_pipeline(broker: Broker, module_prefix: str, module_start_role: RoleStarter) -> Pipeline:
    """Topics for all tests of a file. The file starts the roles in its own fixture with `scope="module"`."""
    return Pipeline(broker.bootstrap_servers, module_prefix, module_start_role)


@pytest.fixture
def shared(module_pipeline: Pipeline) -> Pipeline:
    """The pipeline of the file, with a customer of this test: other tests see neither its subscriptions nor jobs."""
    return module_pipeline.of_customer(f"customer-{uuid4().hex[:8]}")


@pytest.fixture
def kafka(broker: Broker) -> dict[str, str]:
    """The connection properties of the broker."""
    return kafka_of(broker.bootstrap_servers)


@pytest.fixture
def names(broker: Broker, prefix: str) -> TopicNames:
    """The names of this test's topics. `subscriptions`, `health` and `operations` are created."""
    return subscriptions_topic(broker.bootstrap_servers, prefix)


@pytest.fixture
def make_writer(kafka: dict[str, str], names: TopicNames) -> Iterator[MakeWriter]:
    """Create subscription writers. They are closed when the test ends."""
    with making_writers(kafka, names) as make:
        yield make


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The PostgreSQL server of the run. It needs the part `postgres`."""
    need("postgres")
    with postgres_server() as running:
        yield running


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> str:
    """The URL of an empty database of this test in PostgreSQL."""
    return postgres.new_database()


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database: the test runs once with a file of SQLite, and once with PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url
