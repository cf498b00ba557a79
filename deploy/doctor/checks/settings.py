"""Checks of the settings, and of the files that they name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from deploy.doctor.findings import Area, Finding, FindingCode, error, warning
from schemas.settings.settings import Settings

# Clouds serve credentials of the machine at this address, among other data.
_METADATA_SERVICE: Final = ip_address("169.254.169.254")
_WHERE_FROM: Final = "`signpost settings` shows where each value comes from"
# Settings and files that roles refuse: where the finding is, and what to do.
_REFUSED: Final[Mapping[FindingCode, tuple[Area, str, str]]] = {
    "sender_invalid": ("settings", "senders", "correct the sender's folder: `signpost senders check` shows each error"),
    "source_sender_unknown": ("settings", "sources", "name a loaded sender, or load it by the setting senders"),
    "drain_timeout_short": ("settings", "drain_timeout", f"set a longer drain_timeout; {_WHERE_FROM}"),
    "ca_bundle_unusable": ("settings", "ca_bundle", "name a PEM file with certificates of authorities"),
    "sealing_key_unusable": (
        "sealing_key",
        "sealing key",
        "give all processes the same key: sealing_key_file, sealing_keys or SIGNPOST_SEALING_KEY",
    ),
}


@dataclass(frozen=True, slots=True)
class RefusedSetting:
    """A setting, or a file that it names, which a role refuses; `reason` is the error."""

    code: FindingCode
    reason: str


def check_unreadable(reason: str) -> list[Finding]:
    """Return a finding for each line of the error that settings could not be read with."""
    findings = []
    for line in reason.splitlines():
        place, colon, what = line.partition(": ")
        where, what = (place, what) if colon else ("settings", line)
        findings.append(error("settings", "settings_invalid", where, what, f"correct it; {_WHERE_FROM}"))
    return findings


def check_settings(settings: Settings, refusals: Sequence[RefusedSetting]) -> list[Finding]:
    """Return the findings about the settings; `refusals` are the errors of the roles."""
    findings = [_refused(refusal) for refusal in refusals]
    if settings.delay_speedup != 1:
        what = (
            f"delay_speedup is {settings.delay_speedup:g}: it divides every delay of retry schedules, and is for demos "
            "and tests only"
        )
        findings.append(warning("settings", "delays_shortened", "delay_speedup", what, "remove the setting"))
    findings += _check_networks(settings)
    return findings


def _check_networks(settings: Settings) -> Iterator[Finding]:
    for network in settings.allow_cidrs:
        if _METADATA_SERVICE in network:
            what = (
                f"{network} contains {_METADATA_SERVICE}, where clouds serve credentials of the machine: the URL of a "
                "subscription may lead there"
            )
            do = "list only the networks that contain endpoints"
            yield warning("settings", "metadata_service_allowed", "allow_cidrs", what, do)


def _refused(refusal: RefusedSetting) -> Finding:
    area, where, do = _REFUSED[refusal.code]
    return error(area, refusal.code, where, refusal.reason, do)
