"""The record fields of a draft: settings as numbers; secrets, header values and certificate keys sealed.

An unchanged value keeps its sealed bytes, so that applying the same draft again changes nothing.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar

from schemas.catalog.errors import InvalidInput, SubscriptionError
from schemas.subscriptions.client_certificate import GivenCertificate
from schemas.subscriptions.header_rules import GivenHeader
from schemas.subscriptions.rules import KEEP, Draft, Keep
from schemas.subscriptions.sealing import Sealer, header_place, key_place
from schemas.subscriptions.subscription import ClientCertificate, FormerSecret, SealedHeader, SealedSecret, Subscription

_Part = TypeVar("_Part", SealedSecret, FormerSecret, SealedHeader, ClientCertificate)
Sealed: TypeAlias = SealedSecret | FormerSecret | SealedHeader | ClientCertificate


def setting_fields(draft: Draft) -> dict[str, Any]:
    """Return the record fields of the settings in a draft."""
    wanted = {
        "schedule_s": draft.schedule
        if isinstance(draft.schedule, Keep | None)
        else tuple(_seconds(wait) for wait in draft.schedule),
        "timeout_s": _seconds(draft.timeout) if isinstance(draft.timeout, timedelta) else draft.timeout,
        "max_in_flight": draft.max_in_flight,
        "rate_limit": float(draft.rate_limit) if isinstance(draft.rate_limit, int) else draft.rate_limit,
    }
    return {name: value for name, value in wanted.items() if value is not KEEP}


def sealed_in(subscription: Subscription) -> Iterator[Sealed]:
    """Yield all sealed parts of a record."""
    yield from subscription.secrets
    yield from subscription.former_secrets
    yield from subscription.headers
    if subscription.client_certificate is not None:
        yield subscription.client_certificate


class SealedFields:
    """Seals fields for one topic; `sealer` is needed only if there is something to seal."""

    def __init__(self, topic: str, sealer: Sealer | None) -> None:
        self._topic = topic
        self._sealer = sealer

    def secret(self, id_: str, secret: str, secret_id: str) -> bytes:
        """Seal a secret of the subscription `id_`."""
        return self._seal(id_, secret, secret_id)

    def is_secret(self, current: Subscription, secret: str) -> bool:
        """Return whether this is the newest secret of a subscription."""
        newest = current.secrets[0]
        return self._holds(current.id, newest.sealed, newest.id, secret)

    def headers(self, draft: Draft, current: tuple[SealedHeader, ...], request_id: str) -> tuple[SealedHeader, ...]:
        """Return all headers; SubscriptionError if a value should stay but does not exist."""
        if draft.headers is KEEP:
            return current
        present = {header.name.lower(): header for header in current}
        return tuple(
            self._header(draft.id, command, present.get(command.name.lower()), request_id) for command in draft.headers
        )

    def client_certificate(
        self, draft: Draft, current: ClientCertificate | None, request_id: str
    ) -> ClientCertificate | None:
        """Return the client certificate."""
        command = draft.client_certificate
        if command is KEEP:
            return current
        if not isinstance(command, GivenCertificate):
            return None
        if (
            current is not None
            and current.certificate == command.certificate
            and self._holds(draft.id, current.sealed, key_place(current.id), command.key)
        ):
            return current
        id_ = f"crt_{request_id}"
        return ClientCertificate(command.certificate, id_, self._seal(draft.id, command.key, key_place(id_)))

    def resealed(self, current: Subscription) -> Subscription:
        """Return a record with everything sealed by the first key; SealBroken if something cannot be opened."""
        sealer = self._keys(current.id)

        def again(part: _Part, place: str) -> _Part:
            if sealer.is_current(part.sealed):
                return part
            bound = {"topic": self._topic, "subscription_id": current.id, "secret_id": place}
            return replace(part, sealed=sealer.seal(sealer.open(part.sealed, **bound), **bound))

        certificate = current.client_certificate
        return replace(
            current,
            secrets=tuple(again(secret, secret.id) for secret in current.secrets),
            former_secrets=tuple(again(secret, secret.id) for secret in current.former_secrets),
            headers=tuple(again(header, header_place(header.name, header.id)) for header in current.headers),
            client_certificate=None if certificate is None else again(certificate, key_place(certificate.id)),
        )

    def _header(self, id_: str, command: GivenHeader, current: SealedHeader | None, request_id: str) -> SealedHeader:
        if command.value is None and current is None:
            raise SubscriptionError(
                f"subscription {id_}: headers: there is no {command.name!r} whose value could be kept"
            )
        if current is not None:
            place = header_place(current.name, current.id)
            if command.value is None or (
                command.name == current.name and self._holds(id_, current.sealed, place, command.value)
            ):
                return current
        header_id = f"hdr_{request_id}"
        assert command.value is not None
        return SealedHeader(
            command.name, header_id, self._seal(id_, command.value, header_place(command.name, header_id))
        )

    def _seal(self, id_: str, text: str, place: str) -> bytes:
        return self._keys(id_).seal(text, topic=self._topic, subscription_id=id_, secret_id=place)

    def _holds(self, id_: str, sealed: bytes, place: str, text: str) -> bool:
        opened = self._keys(id_).open(sealed, topic=self._topic, subscription_id=id_, secret_id=place)
        return hmac.compare_digest(opened.encode(), text.encode())

    def _keys(self, id_: str) -> Sealer:
        if self._sealer is None:
            raise InvalidInput(
                f"subscription {id_}: sealing its secret needs a key; set SIGNPOST_SEALING_KEY (32 bytes in "
                "base64), sealing_key_file or sealing_keys, the same for the writers and for delivery"
            )
        return self._sealer


def _seconds(wait: timedelta) -> int:
    return wait // timedelta(seconds=1)
