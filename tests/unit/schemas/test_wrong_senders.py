"""Invalid sender folders, as `signpost senders check` reports them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.cli.main import main
from deploy.config.senders import make_folder, senders_of
from schemas.catalog.errors import SenderError
from schemas.settings.settings import Settings

TOML, AVSC = "sender.toml", "events/order.created.avsc"
Check = Callable[[], str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a new sender's folder as a relative path."""
    monkeypatch.chdir(tmp_path)
    make_folder(Path("orders"))
    return Path("orders")


@pytest.fixture
def check(folder: Path, capfd: pytest.CaptureFixture[str]) -> Check:
    """Return a function that runs the command and returns its error output."""

    def run() -> str:
        with pytest.raises(SystemExit) as ended:
            main(["senders", "check", str(folder)])
        assert ended.value.code == 2
        return capfd.readouterr().err.strip()

    return run


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ((TOML, "[kafka]", "[kafka"), "not TOML: "),
        ((TOML, 'timeout = "30s"', 'time_out = "30s"'), "delivery.time_out: unknown key; did you mean timeout?"),
        ((TOML, "[kafka]", "[kafak]"), "kafak: unknown key; did you mean kafka?"),
        ((TOML, "scheme = ", "heder = 5\nscheme = "), "signature.heder: unknown key; did you mean header?"),
        ((TOML, '"5m"', '"5 minutes"'), "delivery.schedule.1: '5 minutes' is not a duration: "),
        (
            (TOML, "Signpost/{version}", "{versoin}"),
            "headers.User-Agent: unknown placeholder {versoin}; known: {version}",
        ),
        ((TOML, '"hmac_sha256_hex"', '"md5"'), "signature.scheme: 'md5' is not one of 'hmac_sha256_hex', "),
        ((TOML, 'data = "data"', 'data = "date"'), "body.envelope.data: "),
        ((TOML, '["order_id"]', '["orderid"]'), "kafka.key: no event type has a field 'orderid' in data"),
        (
            (TOML, '"order.created" = {', '"order.sent" = { trigger = "it left" }\n"order.created" = {'),
            "event_types.order.sent: the record is missing: orders/events/order.sent.avsc does not exist",
        ),
        ((AVSC, '"OrderCreated",', '"OrderCreated";'), "not JSON: "),
        ((AVSC, '"event_id"', '"id"'), "id: the fields of the record are event_id, event_type, created_at, "),
        ((AVSC, '"customer_id", "type": "string"', '"customer_id", "type": "int"'), "customer_id: expected type "),
        ((AVSC, '"total_cents", "type": "long"', '"total_cents", "type": "bytes"'), "data.total_cents: bytes has no "),
        ((AVSC, '"total_cents", "type": "long"', '"total_cents", "type": "Money"'), "not an Avro schema: UnknownType"),
    ],
)
def test_invalid_folder_is_reported_by_file_line_and_field(folder, check, change, expected):
    """Each error begins with the file, the line and the field, and the exit code is 2."""
    file, old, new = change
    text = (folder / file).read_text(encoding="utf-8")
    line = text.count("\n", 0, text.index(old)) + 1
    (folder / file).write_text(text.replace(old, new, 1), encoding="utf-8")
    assert f"error: {folder / file}:{line}: {expected}" in check()


def test_missing_and_extra_files_are_reported(folder, check):
    """A record without an event type, and a folder without sender.toml, are reported with their file."""
    (folder / "events" / "order.sent.avsc").write_text("{}")
    assert check().startswith(
        "error: orders/events/order.sent.avsc: event type 'order.sent' is not under [event_types]"
    )
    (folder / TOML).unlink()
    assert check() == "error: orders/sender.toml: the file is missing"


def test_invalid_folder_name_is_refused(tmp_path, monkeypatch):
    """The folder's name becomes part of topic names, and must not be that of a built-in sender."""
    monkeypatch.chdir(tmp_path)
    for name, expected in (
        ("Orders", "lower-case letters"),
        ("a b", "lower-case letters"),
        ("zenoo", "Signpost has a built-in sender"),
    ):
        with pytest.raises(SenderError, match=expected):
            make_folder(Path(name))
    make_folder(Path("orders"))
    with pytest.raises(SenderError, match="orders: already exists"):
        make_folder(Path("orders"))


def test_folders_of_the_setting_are_loaded_with_the_built_in_ones(tmp_path, monkeypatch):
    """The setting names sender folders or their parents; a name used twice or a path without senders is an error."""
    monkeypatch.chdir(tmp_path)
    for name in ("mine/orders", "mine/2nd-shop", "other"):
        make_folder(Path(name))
    found = senders_of(Settings(senders=(Path("mine"), Path("other"))))
    assert {"orders", "2nd-shop", "other", "zenoo", "standard"} <= set(found)
    make_folder(Path("twice/orders"))
    for wrong, expected in (
        ((Path("mine"), Path("twice")), "another folder of the setting senders is also called orders"),
        ((Path("none"),), "none: there is no such folder"),
        ((Path("other/events"),), "neither a sender.toml nor a sender's folder"),
    ):
        with pytest.raises(SenderError, match=expected):
            senders_of(Settings(senders=wrong))


@pytest.mark.parametrize("file", [TOML, AVSC])
def test_deeply_nested_file_is_an_ordinary_error(folder: Path, check: Check, file: str) -> None:
    """Thousands of brackets give an error that names the file."""
    (folder / file).write_text("x = " * (file == TOML) + "[" * 9_000, encoding="utf-8")
    assert f"error: {folder / file}: " in check()
