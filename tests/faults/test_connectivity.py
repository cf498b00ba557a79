"""The connectivity monitor of router and ledger, on a broker that responds without listing itself."""

from __future__ import annotations

import subprocess
import sys

from deploy.dev.broker import Broker
from tests.support.proxy import Api, Frame, KafkaProxy
from tests.support.waiting import wait_until

MONITOR = """
import sys
import time

import structlog
from confluent_kafka import KafkaError

from consumers.kafka.connectivity import ConnectivityMonitor

monitor = ConnectivityMonitor({"bootstrap.servers": sys.argv[1]}, structlog.get_logger(), lambda waiting: None)
monitor.on_error(KafkaError(KafkaError._ALL_BROKERS_DOWN))
while monitor.disconnected is not None:
    monitor.poll(time.monotonic())
    time.sleep(0.01)
"""


def test_process_survives_a_cluster_that_lists_no_broker(broker: Broker) -> None:
    """A broker that stood still lists no broker for a moment: a process is disconnected until it does, and goes on."""
    responses = 0

    def count(frame: Frame) -> bool:
        nonlocal responses
        responses += frame == Frame(Api.METADATA, "response")
        return True

    with KafkaProxy(broker.bootstrap_servers) as proxy:
        proxy.rule = count
        proxy.lists_no_broker = True
        with subprocess.Popen(
            [sys.executable, "-c", MONITOR, proxy.bootstrap_servers], stdout=subprocess.PIPE, text=True
        ) as monitor:
            try:
                wait_until(lambda: responses > 2, what="the monitor has asked for brokers")
                assert monitor.poll() is None
                proxy.lists_no_broker = False
                output, _ = monitor.communicate(timeout=60)
            finally:
                monitor.kill()
    assert monitor.returncode == 0
    assert "kafka.connected" in output
