"""The setting `sealing_keys`: several sealing keys by id, the first of which seals."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from deploy.cli.main import main
from deploy.config.sealing_key import create_key_file, sealer_of
from deploy.config.settings_sources import load
from deploy.dev.state import write_settings
from schemas.catalog.errors import SealBroken, SettingsError
from schemas.subscriptions.sealing import Sealer
from tests.support.settings import load_settings

pytestmark = pytest.mark.promise(6)

OLD, NEW = bytes(32), bytes(range(32))
PLACE = {"topic": "signpost.subscriptions", "subscription_id": "sub_1", "secret_id": "sec_1"}


def text(key: bytes) -> str:
    return base64.b64encode(key).decode()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove all variables and settings files except those of the test."""
    for name in [name for name in os.environ if name.startswith("SIGNPOST_")]:
        monkeypatch.delenv(name)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def key_file(path: Path, key: bytes) -> Path:
    path.write_text(f"{text(key)}\n", encoding="ascii")
    path.chmod(0o600)
    return path


def assert_rotates(sealer: Sealer) -> None:
    """The new key seals; both keys open."""
    assert sealer.open(Sealer([OLD]).seal("secret", **PLACE), **PLACE) == "secret"
    assert Sealer([NEW]).open(sealer.seal("secret", **PLACE), **PLACE) == "secret"


def test_keys_in_a_file(tmp_path: Path) -> None:
    """A settings file has keys and key files; a relative path starts at the settings file."""
    key_file(tmp_path / "old.key", OLD)
    (tmp_path / "signpost.toml").write_text(
        f'[[sealing_keys]]\nid = "2026-11"\nkey = "{text(NEW)}"\n[[sealing_keys]]\nid = "2025-01"\nfile = "old.key"\n'
    )
    assert_rotates(sealer_of(load_settings(tmp_path)))


def test_keys_in_a_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A variable has the same list as JSON; it replaces whatever key a settings file gives."""
    (tmp_path / "signpost.toml").write_text('sealing_key_file = "gone.key"\n')
    keys = [{"id": "new", "key": text(NEW)}, {"id": "old", "file": str(key_file(tmp_path / "old.key", OLD))}]
    monkeypatch.setenv("SIGNPOST_SEALING_KEYS", json.dumps(keys))
    settings = load_settings(tmp_path)
    assert settings.sealing_key_file is None
    assert_rotates(sealer_of(settings))


def test_single_key_replaces_keys_of_lower_precedence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A single key in the environment replaces the keys of a settings file."""
    (tmp_path / "signpost.toml").write_text('sealing_keys = [{id = "new", file = "gone.key"}]\n')
    monkeypatch.setenv("SIGNPOST_SEALING_KEY", text(NEW))
    settings = load_settings(tmp_path)
    assert settings.sealing_keys == ()
    assert sealer_of(settings).is_current(Sealer([NEW]).seal("secret", **PLACE))


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ([{"id": "a"}], "sealing_keys: 0: a: write either key or file|SEALING_KEYS: 0: a: write either key or file"),
        ([{"id": "a", "key": text(NEW), "file": "x"}], "a: write either key or file"),
        ([{"key": text(NEW)}], "0.id: is missing"),
        ([{"id": "a b", "key": text(NEW)}], "0.id: "),
        ([{"id": "", "key": text(NEW)}], "0.id: "),
        ([{"id": "a", "key": "canary"}], "0.key: write 32 random bytes in base64"),
        ([{"id": "a", "kye": text(NEW)}], "0.kye: unknown key"),
        ([{"id": "a", "key": text(NEW)}, {"id": "a", "key": text(OLD)}], "two keys have the id a"),
        ([{"id": "a", "key": text(NEW)}, {"id": "b", "key": text(NEW)}], "a and b are the same key"),
        ([{"id": "a", "file": "/nowhere/a.key"}], "sealing_keys: a: file /nowhere/a.key: cannot be read"),
        ({"a": text(NEW)}, "write a JSON list, such as"),
        (text(NEW), "write a JSON list, such as"),
    ],
)
def test_invalid_keys_are_refused(monkeypatch: pytest.MonkeyPatch, keys: object, sentence: str) -> None:
    """The error names the entry and what is wrong, and contains no key."""
    monkeypatch.setenv("SIGNPOST_SEALING_KEYS", json.dumps(keys))
    with pytest.raises(SettingsError, match=sentence) as error:
        sealer_of(load_settings())
    assert "canary" not in str(error.value)
    assert text(NEW) not in str(error.value)


def test_text_that_is_not_json_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key alone is not a list. The error shows an example and not the key."""
    monkeypatch.setenv("SIGNPOST_SEALING_KEYS", text(NEW))
    with pytest.raises(SettingsError, match=r'SIGNPOST_SEALING_KEYS: is not JSON; .*\[\{"id"') as error:
        load_settings()
    assert text(NEW) not in str(error.value)


def test_one_source_must_not_give_keys_twice(tmp_path: Path) -> None:
    """`sealing_keys` and a single key in one source exclude each other."""
    (tmp_path / "signpost.toml").write_text(
        'sealing_key_file = "a.key"\nsealing_keys = [{id = "new", file = "gone.key"}]\n'
    )
    with pytest.raises(SettingsError, match="sealing_key_file and sealing_keys are both set: remove one of them"):
        load_settings(tmp_path)


def test_readable_key_file_is_refused(tmp_path: Path) -> None:
    """A key file that other users can read is refused, as a single one is."""
    key_file(tmp_path / "a.key", NEW).chmod(0o644)
    with pytest.raises(SettingsError, match=r"sealing_keys: a: file .*other users can read it; run chmod 600"):
        sealer_of(load_settings(sealing_keys=[{"id": "a", "file": tmp_path / "a.key"}]))


@pytest.mark.parametrize("content", ["", "canary", "\xff\xfe"])
def test_file_without_a_key_is_named(tmp_path: Path, content: str) -> None:
    """The error for a file that is not a key names the file and how to make a key, and does not repeat the content."""
    path = tmp_path / "a.key"
    path.write_text(content, encoding="latin-1")
    path.chmod(0o600)
    with pytest.raises(SettingsError, match=r"sealing_key_file .*a\.key: .*openssl rand -base64 32") as error:
        sealer_of(load_settings(sealing_key_file=path))
    assert "canary" not in str(error.value)


def test_byte_order_mark_and_line_ends_are_no_part_of_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key file may begin with a BOM and end with CR LF, and a variable may end with a line end."""
    path = tmp_path / "a.key"
    path.write_bytes(b"\xef\xbb\xbf" + text(NEW).encode() + b"\r\n")
    path.chmod(0o600)
    sealed = Sealer([NEW]).seal("secret", **PLACE)
    assert sealer_of(load_settings(sealing_key_file=path)).open(sealed, **PLACE) == "secret"
    monkeypatch.setenv("SIGNPOST_SEALING_KEY", f"{text(NEW)}\n")
    assert sealer_of(load_settings()).open(sealed, **PLACE) == "secret"


def test_error_for_a_lost_key_says_what_can_be_done() -> None:
    """The error names the missing key, the configured ones by their ids, and both ways out."""
    sealed = Sealer([OLD]).seal("secret", **PLACE)
    sealer = sealer_of(load_settings(sealing_keys=[{"id": "2026-11", "key": text(NEW)}]))
    with pytest.raises(SealBroken) as error:
        sealer.open(sealed, **PLACE)
    sentence = str(error.value)
    for part in (
        f"sealed with the key {sealed[1:9].hex()}, which is not configured",
        "configured: 2026-11 (",
        "add its key to sealing_keys",
        "if the key is lost, delete the subscriptions that it sealed",
    ):
        assert part in sentence


def test_keys_are_masked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`signpost settings` shows ids and files, and no key; neither does the repr of the settings."""
    keys = [{"id": "new", "key": text(NEW)}, {"id": "old", "file": "/keys/old.key"}]
    monkeypatch.setenv("SIGNPOST_SEALING_KEYS", json.dumps(keys))
    for arguments in (["settings"], ["settings", "--json"]):
        with pytest.raises(SystemExit):
            main(arguments)
    shown = capsys.readouterr().out
    assert "new, old" in shown
    assert json.loads(shown[shown.index("\n{") :])["sealing_keys"]["value"] == [
        {"id": "new", "key": "***"},
        {"id": "old", "file": "/keys/old.key"},
    ]
    assert text(NEW) not in shown + repr(load_settings())


def test_up_passes_key_files_on_and_withholds_keys(tmp_path: Path) -> None:
    """`signpost up` writes the paths of key files for other commands, and no key."""
    create_key_file(Path("a.key"))
    write_settings(tmp_path, load(sealing_keys=[{"id": "a", "file": "a.key"}]), "127.0.0.1:1", {})
    (named,) = load_settings(tmp_path).sealing_keys
    assert (named.id, named.file) == ("a", Path.cwd() / "a.key")

    withheld = write_settings(tmp_path, load(sealing_keys=[{"id": "a", "key": text(NEW)}]), "127.0.0.1:1", {})
    assert withheld == ["sealing_keys (given)"]
    written = (tmp_path / "signpost.toml").read_text(encoding="utf-8")
    assert text(NEW) not in written
    assert "sealing_key_file" not in written
