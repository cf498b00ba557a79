"""Settings of the HTTP client are applied, or refused in one sentence."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.cli.settings import rows_of
from deploy.config.settings_sources import Loaded, load
from deploy.roles.http_client import allowed_connections, http_client_of, roots_of
from schemas.catalog.errors import SettingsError
from schemas.network.egress import EgressPolicy
from schemas.settings.settings import Settings
from tests.support.certificates import Authority

pytestmark = pytest.mark.promise(5)


@pytest.fixture
def few_files() -> Iterator[None]:
    """Set the hard limit of open files to the current soft limit."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_ca_bundle_is_checked_at_startup(tmp_path: Path) -> None:
    """A bundle that is missing, empty or not PEM is refused at startup, not with the first delivery."""
    authority = Authority(tmp_path)
    assert roots_of(authority.roots) == str(authority.roots)
    assert Path(roots_of(None)).exists()
    (tmp_path / "empty.pem").write_text("")
    (tmp_path / "key.pem").write_text("-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n")
    for name in ("missing.pem", "empty.pem", "key.pem"):
        with pytest.raises(SettingsError, match=f"ca_bundle .*{name}"):
            roots_of(tmp_path / name)


def test_ca_bundle_is_relative_to_the_settings_file(tmp_path: Path) -> None:
    """`ca_bundle` is relative to the settings file, like the file of the sealing key."""
    (tmp_path / "signpost.toml").write_text('ca_bundle = "own.pem"\n')
    assert load(tmp_path).settings.ca_bundle == tmp_path / "own.pem"


@pytest.mark.usefixtures("few_files")
def test_limit_of_open_files_is_raised_as_far_as_needed() -> None:
    """The soft limit is raised for the connections, up to the hard limit. With too few descriptors the start fails."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1_024, hard))
    assert allowed_connections(1_024, 512) == 1_024
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 1_024 + 256
    resource.setrlimit(resource.RLIMIT_NOFILE, (1_024, hard))
    assert allowed_connections(100, 600) == 600
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 1_024
    if hard != resource.RLIM_INFINITY:
        assert allowed_connections(hard, 512) == hard - 256
        with pytest.raises(SettingsError, match="LimitNOFILE"):
            allowed_connections(hard, hard)


@pytest.mark.parametrize("url", ["proxy:3128", "socks5://p", "http://", "http://p:0", "http://p/secret", "http://p:x"])
def test_error_for_an_invalid_proxy_does_not_show_it(url: str) -> None:
    """The error says what to write, and does not show the value, which may hold a password."""
    with pytest.raises(ValueError, match="write http://host:port") as error:
        Settings.model_validate({"proxy": f"{url}?secret"})
    assert "secret" not in str(error.value)


def test_proxy_is_shown_without_its_password() -> None:
    """`signpost settings` and the repr of the settings show the proxy without user and password."""
    settings = Settings.model_validate({"proxy": "http://me:pass%40word@proxy:3128"})
    [row] = [row for row in rows_of(Loaded(settings, {})) if row.key == "proxy"]
    assert row.value == "http://***@proxy:3128"
    assert "pass" not in repr(settings)


def test_everything_is_forbidden_by_default() -> None:
    """Proxy, http, other ports and private networks are off until a setting enables them."""
    settings = Settings()
    assert (settings.proxy, settings.proxy_resolves) == (None, False)
    assert (settings.allow_http, settings.allow_ports, settings.allow_cidrs) == (False, (), ())


def test_proxy_resolves_requires_a_proxy() -> None:
    """`proxy_resolves` without a proxy is refused: nothing would check addresses."""
    with pytest.raises(SettingsError, match="without a proxy"):
        Settings.model_validate({"proxy_resolves": True})


@pytest.mark.usefixtures("few_files")
@pytest.mark.parametrize("proxy", [None, "http://me:word@127.0.0.1:3128"])
def test_client_is_made_from_the_settings(proxy: str | None, tmp_path: Path) -> None:
    """All connection settings together make a client."""
    ca_bundle = Authority(tmp_path).roots
    settings = Settings(proxy=proxy, ca_bundle=ca_bundle, dns_servers=("127.0.0.1:9",))
    http_client_of(settings, EgressPolicy()).close()
