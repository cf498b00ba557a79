"""The test deliveries of an API process, from the settings."""

from __future__ import annotations

import time

from consumers.delivery.endpoint import endpoint_builder
from consumers.delivery.inline_deliveries import InlineDeliveries
from consumers.kafka.append_log import AppendLog
from deploy.config.egress import egress_policy_of
from deploy.config.sealing_key import sealer_of
from deploy.config.senders import senders_of
from deploy.roles.http_client import http_client_of
from schemas.settings.settings import Settings


def log_of_tests(settings: Settings) -> AppendLog:
    """Return the log on the topic `tests`."""
    return AppendLog(settings.kafka_properties(), settings.names.tests)


def inline_deliveries_of(settings: Settings, log: AppendLog) -> InlineDeliveries:
    """Return test deliveries with the rules for URLs and addresses that deliveries have. The caller closes both."""
    senders = senders_of(settings)
    policy = egress_policy_of(settings)
    topic, speedup = settings.names.subscriptions, settings.delay_speedup
    return InlineDeliveries(
        client=http_client_of(settings, policy),
        log=log,
        senders=senders,
        policy=policy,
        endpoint_of=endpoint_builder(senders, policy, sealer_of(settings), topic, speedup),
        clock=lambda: time.time_ns() // 1_000_000,
    )
