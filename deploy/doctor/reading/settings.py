"""Reads the files that the settings name, as roles do at their start."""

from __future__ import annotations

from collections.abc import Callable

from deploy.config.drain import check_drain_timeout
from deploy.config.sealing_key import sealer_of
from deploy.config.senders import senders_of
from deploy.doctor.checks.settings import RefusedSetting
from deploy.doctor.findings import FindingCode
from deploy.roles.http_client import roots_of
from deploy.roles.router import source_senders
from schemas.catalog.errors import InvalidInput
from schemas.settings.settings import Settings


def read_refusals(settings: Settings) -> list[RefusedSetting]:
    """Return what roles refuse of these settings, and of the files that they name."""
    attempts: list[tuple[FindingCode, Callable[[], object]]] = [
        ("ca_bundle_unusable", lambda: roots_of(settings.ca_bundle)),
        ("sealing_key_unusable", lambda: sealer_of(settings)),
        ("sender_invalid", lambda: senders_of(settings)),
    ]
    refusals = _refused(attempts)
    if any(refusal.code == "sender_invalid" for refusal in refusals):
        return refusals
    return refusals + _refused(
        [
            ("source_sender_unknown", lambda: source_senders(settings)),
            ("drain_timeout_short", lambda: check_drain_timeout(settings, senders_of(settings))),
        ]
    )


def _refused(attempts: list[tuple[FindingCode, Callable[[], object]]]) -> list[RefusedSetting]:
    refusals = []
    for code, attempt in attempts:
        try:
            attempt()
        except InvalidInput as error:
            refusals.append(RefusedSetting(code, str(error)))
    return refusals
