"""Kafka: clients, topics, positions, transactions and one reader of topics."""
