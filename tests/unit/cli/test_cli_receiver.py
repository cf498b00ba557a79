"""`signpost receiver` verifies, misbehaves and prints one line per delivery."""

from __future__ import annotations

import json
import re

import httpx

from schemas.senders.sender import load_senders
from tests.support.attempts import Attempted
from tests.support.roles import Role, RoleStarter
from tests.support.waiting import wait_until

BODY = b'{"event_id":"evt_1","event_type":"case.created"}'
SECRET = "whsec_of_the_test"


def url_of(role: Role) -> str:
    found = wait_until(lambda: re.search(r"http://\S+/", role.log_text()), what="the receiver has printed its address")
    assert found is not None
    return found[0]


def deliver(url: str, secret: str = SECRET) -> int:
    sender = load_senders()["zenoo"]
    lines = sender.headers(Attempted(event_id="evt_1"), BODY, [sender.signing_key(secret)], 1_800_000_000)
    headers = [(name, value.strip()) for name, _, value in (line.decode().partition(":") for line in lines)]
    return httpx.post(url, content=BODY, headers=headers, trust_env=False).status_code


def test_forged_deliveries_are_rejected(start_role: RoleStarter) -> None:
    """Each delivery's line has the result of verification; a forged one gets a 401; SIGTERM exits with 0."""
    role = start_role(["receiver", "--port", "0", "--secret-env", "HOOK_SECRET"], {"HOOK_SECRET": SECRET})
    url = url_of(role)

    assert [deliver(url), deliver(url, "another")] == [200, 401]
    assert role.terminate() == 0

    genuine, forged = [line for line in role.log_text().splitlines() if "case.created" in line]
    assert "200  evt_1  case.created  attempt 1  signature ok" in genuine
    assert "401" in forged
    assert "does not match" in forged
    assert SECRET not in role.log_text()


def test_receiver_fails_first_attempts_and_prints_json_lines(start_role: RoleStarter) -> None:
    """`--fail 2 --status 202 --json`: two failures, then the requested status, each a JSON object."""
    role = start_role(["receiver", "--port", "0", "--fail", "2", "--status", "202", "--json"], {})
    url = url_of(role)

    assert [deliver(url) for _ in range(3)] == [503, 503, 202]
    assert role.terminate() == 0

    lines = [json.loads(line) for line in role.log_text().splitlines() if line.startswith("{")]
    assert [(line["attempt"], line["status"], line["genuine"]) for line in lines] == [
        (1, 503, None),
        (2, 503, None),
        (3, 202, None),
    ]
    assert lines[0]["body"] == BODY.decode()


def test_event_type_is_shown_for_every_sender(start_role: RoleStarter) -> None:
    """The event type may be under another key of the body's envelope, or in a header."""
    for sender, headers, body, shown in (
        ("standard", {}, b'{"type":"invoice.paid"}', "invoice.paid"),
        ("diligent", {"X-Event-Name": "SEARCH_COMPLETED"}, b'{"type":"FRAUD"}', "SEARCH_COMPLETED"),
    ):
        role = start_role(["receiver", "--port", "0", "--sender", sender], {})
        httpx.post(url_of(role), content=body, headers=headers, trust_env=False)
        assert role.terminate() == 0
        assert f"  {shown}  attempt 1  " in role.log_text()


def test_invalid_options_are_one_sentence(start_role: RoleStarter) -> None:
    """An unknown sender, even without verification, and a secret of the wrong form: exit code 2."""
    for given, sentence in (
        (["--sender", "zeno"], "no sender is called 'zeno'; did you mean zenoo?"),
        (["--sender", "standard", "--secret", "whsec_short"], "invalid secret for sender standard: "),
    ):
        role = start_role(["receiver", "--port", "0", *given], {})
        assert role.wait() == 2
        assert sentence in role.log_text()
