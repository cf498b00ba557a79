"""The connectivity monitor of router and ledger, on a broker that responds without listing itself."""

from __future__ import annotations

import subprocess
import sys

from deploy.dev.broker import Broker
from tests.support.proxy import Api, Frame, KafkaProxy
from tests.support.waiting import wait_until

# Connects, waits for a line of input, and connects again.
MONITOR = """
import sys
import time

import structlog
from confluent_kafka import KafkaError

from consumers.kafka.connectivity import ConnectivityMonitor

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
monitor = ConnectivityMonitor({"bootstrap.servers": sys.argv[1]}, structlog.get_logger(), lambda waiting: None)
for _ in range(2):
    monitor.on_error(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    while monitor.disconnected is not None:
        monitor.poll(time.monotonic())
        time.sleep(0.01)
    print("connected", flush=True)
    sys.stdin.readline()
"""


def test_process_survives_a_cluster_that_lists_no_broker(broker: Broker) -> None:
    """While a broker that stood still does not list itself, a process is disconnected, and it goes on afterwards."""
    responses = 0

    def count(frame: Frame) -> bool:
        nonlocal responses
        responses += proxy.lists_no_broker and frame == Frame(Api.METADATA, "response")
        return True

    with KafkaProxy(broker.bootstrap_servers) as proxy:
        proxy.rule = count
        monitor = subprocess.Popen(
            [sys.executable, "-c", MONITOR, proxy.bootstrap_servers],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with monitor:
            try:
                assert monitor.stdout is not None
                assert monitor.stdout.readline() == "connected\n"
                proxy.lists_no_broker = True
                assert monitor.stdin is not None
                monitor.stdin.write("\n")
                monitor.stdin.flush()
                wait_until(lambda: responses > 2, what="the monitor has asked for brokers")
                assert monitor.poll() is None
                proxy.lists_no_broker = False
                assert monitor.communicate("\n", timeout=60)[0] == "connected\n"
            finally:
                monitor.kill()
    assert monitor.returncode == 0
