"""`signpost verify` with files, options and recorded requests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.cli.main import main

BODY = (
    b'{"type":"order.paid","timestamp":"2026-11-30T03:51:41.579596Z","data":{\n'
    b'  "order": 7,\n  "lines": [\n    1,\n    2\n  ]\n}}'
)
HEADERS = {
    "Host": "127.0.0.1:28471",
    "Content-Type": "application/json",
    "webhook-id": "evt_pretty",
    "webhook-timestamp": "1796010701",
    "webhook-signature": "v1,CI3JqFAJKzvKaYSgOJXWtroo6L6M/GQiF4hR6zCklcI=",
    "Content-Length": "118",
}
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
OTHER = "whsec_AAAAMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

Verify = Callable[..., tuple[int, str, str]]


@pytest.fixture
def verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Verify:
    """Run `signpost verify` in a folder with `body` and `headers`; return exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    Path("body").write_bytes(BODY)
    Path("headers").write_text("".join(f"{name}: {value}\n" for name, value in HEADERS.items()))

    def run(*arguments: str, sender: str = "standard") -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["verify", "--sender", sender, "--any-time", *arguments])
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, captured.out, captured.err

    return run


def test_body_with_spaces_of_its_publisher_is_not_called_changed(verify: Verify) -> None:
    """A pretty-printed body that Signpost sent is genuine, and another secret is called another secret."""
    assert verify("body", "--headers-file", "headers", "--secret", SECRET)[:2] == (
        0,
        "genuine: signed by standard with this secret\n",
    )
    code, out, _ = verify("body", "--headers-file", "headers", "--secret", OTHER)
    assert code == 1
    assert "probably another secret" in out.splitlines()[0]
    assert "compact" not in out
    assert "re-serialized" not in out


def test_version_before_the_secret_is_named(verify: Verify) -> None:
    """Some products show secrets as v1,whsec_…; the v1, is no part of the secret."""
    code, out, _ = verify("body", "--headers-file", "headers", "--secret", f"v1,{SECRET}")
    assert code == 1
    assert "the prefix v1, does not belong before the secret" in out


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_byte_order_mark_of_a_secret_file_is_no_part_of_the_secret(verify: Verify, ending: str) -> None:
    """Editors write a byte order mark. It is taken off, like the last line break."""
    Path("secret").write_text(f"\ufeff{SECRET}{ending}", encoding="utf-8", newline="")
    assert verify("body", "--headers-file", "headers", "--secret-file", "secret")[0] == 0


def test_secret_file_in_utf_16_is_named(verify: Verify) -> None:
    """PowerShell writes UTF-16 by default."""
    Path("secret").write_text(SECRET, encoding="utf-16")
    code, _, err = verify("body", "--headers-file", "headers", "--secret-file", "secret")
    assert code == 2
    assert "secret: the text is UTF-16, as PowerShell writes it; save it as UTF-8" in err


def test_raw_request_needs_no_headers_file(verify: Verify) -> None:
    """A dump of the whole request is split into headers and body."""
    head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    Path("dump").write_bytes(f"POST /hook HTTP/1.1\r\n{head}\r\n".encode() + BODY + b"\n")
    for options in ((), ("--headers-file", "headers"), ("--headers-file", "dump")):
        code, out, _ = verify("dump", *options, "--secret", SECRET)
        assert code == 0
        assert "the file holds a whole request: its headers and its body were read" in out
    assert verify("body", "--headers-file", "dump", "--secret", SECRET)[0] == 0


def test_event_of_a_gateway_needs_no_headers_file(verify: Verify) -> None:
    """An event with a body in base64 is decoded, and a mistake with the secret is still named."""
    event = {"headers": HEADERS, "body": base64.b64encode(BODY).decode(), "isBase64Encoded": True}
    Path("event.json").write_text(json.dumps(event))
    assert verify("event.json", "--secret", SECRET)[0] == 0
    code, out, _ = verify("event.json", "--secret", SECRET.removeprefix("whsec_"))
    assert code == 1
    assert "the prefix whsec_ is missing" in out


def test_parsed_body_is_not_called_changed_by_somebody_else(verify: Verify) -> None:
    """An event without the bytes of the body can match or not; nothing follows from its form."""
    Path("event.json").write_text(json.dumps({"headers": HEADERS, "body": json.loads(BODY)}))
    code, out, _ = verify("event.json", "--secret", SECRET)
    assert code == 1
    assert "another secret, or a changed body" in out
    assert "Signpost cannot have sent" not in out
    assert "the file has the body as JSON values and not its bytes" in out


def test_body_that_looks_like_a_request_is_a_body(verify: Verify) -> None:
    """A webhook whose payload has headers and a body is verified as it is if its own headers are given."""
    body = b'{"headers":{"webhook-id":"x"},"body":"y"}'
    Path("body").write_bytes(body)
    signature = "sha256=" + hmac.new(b"a-secret", body, hashlib.sha256).hexdigest()
    header = f"X-Signature: {signature}"
    assert verify("body", "-H", header, "--secret", "a-secret", sender="diligent")[0] == 0
    assert "in quotes" in verify("body", "-H", header, "--secret", '"a-secret"', sender="diligent")[1]


@pytest.mark.parametrize("line", ["X-Signature:abc", "X-Signature:  abc\t", "HTTP_X_SIGNATURE: abc"])
def test_header_option_takes_any_spacing(verify: Verify, line: str) -> None:
    """Spaces around a value are no part of it, and names of CGI are read as headers."""
    _, out, _ = verify("body", "-H", line, "--secret", "a-secret", sender="diligent")
    assert "no complete signature" in out
    assert "found 3 characters" in out


def test_file_without_headers_is_refused(verify: Verify) -> None:
    """A headers file that has none is an error, not a missing header."""
    Path("headers").write_text("nothing of that kind\n")
    code, _, err = verify("body", "--headers-file", "headers", "--secret", SECRET)
    assert code == 2
    assert "--headers-file: headers has no headers" in err
