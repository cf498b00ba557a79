"""The admin client of commands, with one clear error if no broker responds."""

from __future__ import annotations

import logging
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas.catalog.errors import Unavailable
from schemas.settings.settings import Settings

_METADATA_S: Final = 10.0


def reachable_admin(settings: Settings, timeout_s: float = _METADATA_S) -> AdminClient:
    """Return a client that has reached a broker; Unavailable names the address that does not respond."""
    admin = AdminClient({**settings.kafka_properties()}, logger=logging.getLogger("signpost.kafka"))
    try:
        admin.list_topics(timeout=timeout_s)
    except KafkaException as error:
        raise Unavailable(
            f"no broker responds at {settings.bootstrap_servers} within {timeout_s:g} s: {error.args[0].str()}; "
            "`signpost settings` shows where this address comes from"
        ) from error
    return admin
