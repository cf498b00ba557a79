"""The ids that receivers see in headers, and the ids that a copied text may mean."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path

import pytest

from schemas.senders.sender import load_sender, load_senders
from schemas.senders.traits import id_headers, ids_in

SENDERS = load_senders()
UUID = "73594e44-500a-5a8f-8907-09c941157052"


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        ("standard", {"webhook-id": "event_id"}),
        ("onboarding", {"webhook-id": "event_id"}),
        ("riskos", {"webhook-id": "event_id"}),
        ("diligent", {"X-Webhook-Id": "subscription_id", "X-Event-Id": "job_id"}),
        ("zenoo", {}),
    ],
)
def test_every_header_with_an_id_is_known(sender: str, expected: dict[str, str]) -> None:
    """For each product, the headers with an id are those of its contract."""
    assert {header.name: header.id_field for header in id_headers(SENDERS[sender])} == expected


@pytest.mark.parametrize(
    "text", [UUID, f"  {UUID}\n", f"webhook-id: {UUID}", f"Webhook-Id:{UUID}", f"X-Event-Id: {UUID}", UUID.upper()]
)
def test_copied_id_is_recognised(text: str) -> None:
    """Spaces, the name of the header and upper case do not hide an id."""
    assert UUID in ids_in(text, SENDERS)


def test_any_event_id_means_itself() -> None:
    """An event id may contain any characters, and is never changed only."""
    for text in ("a: b", "UPPER", "with space", "evt.1:2", "Ünïcode"):
        assert ids_in(text, SENDERS)[0] == text
    assert ids_in("  ", SENDERS) == ("  ",)


def test_id_is_found_within_the_value_of_a_custom_header(tmp_path: Path) -> None:
    """A sender of a user may send an id together with other text and other values."""
    with resources.as_file(resources.files("schemas") / "senders" / "zenoo") as original:
        folder = Path(shutil.copytree(original, tmp_path / "other"))
    file = folder / "sender.toml"
    headers = '[headers]\nX-Message = "msg_{event_id}.{customer_id}"\nX-Trace = "{EVENT_TYPE}/{job_id}"\n'
    file.write_text(file.read_text(encoding="utf-8").replace("[headers]\n", headers), encoding="utf-8")
    senders = {"other": load_sender(folder)}
    assert "evt_1" in ids_in("msg_evt_1.acme", senders)
    assert UUID in ids_in(f"X-Trace: CASE.CLOSED/{UUID}", senders)
    assert ids_in("evt_1", senders) == ("evt_1",)
