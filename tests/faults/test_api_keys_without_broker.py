"""API keys while the broker is away."""

from __future__ import annotations

import pytest

from deploy.dev.broker import Broker
from producers.keys.log import read_last_uses
from producers.keys.service import ApiKeys
from producers.keys.writer import KeyWriter, NewKey
from schemas.catalog.errors import Unavailable
from schemas.keys.hashing import KeyHasher
from tests.support.installation import Installation
from tests.support.subscriptions import AUTHOR, KEY
from tests.support.waiting import wait_until


def test_no_key_is_accepted_while_a_revocation_could_be_unread(own_broker: Broker, prefix: str) -> None:
    """A process refuses all keys some time after its broker has stopped, and accepts them after it is back."""
    here = Installation(own_broker.bootstrap_servers, prefix).make_topics()
    kafka = here.settings.kafka_properties()
    writer = KeyWriter(kafka, here.names, KeyHasher(here.names.api_keys, [KEY]))
    kept, revoked = writer.create(NewKey(), AUTHOR), writer.create(NewKey(), AUTHOR)
    api = ApiKeys(kafka, here.names, [KEY], rate_limit=0)
    api.start()
    assert api.authenticate(kept.text)

    own_broker.stop()
    wait_until(lambda: api.why_not_ready() is not None, what="the process does not rely on its table any more")
    with pytest.raises(Unavailable, match="no API key can be checked"):
        api.authenticate(kept.text)

    own_broker.start()
    wait_until(lambda: api.why_not_ready() is None, what="the process has read the topic")
    assert api.authenticate(kept.text)
    writer.revoke([revoked.key.id], AUTHOR)
    wait_until(lambda: api.authenticate(revoked.text) is None, what="the revocation counts")
    writer.close()
    api.close()
    assert kept.key.id in read_last_uses(kafka, here.names)
