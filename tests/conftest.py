"""What every test may ask for: an embedded broker, a real Kafka, or each in turn."""

from tests.brokers import broker, embedded_bootstrap, kafka_bootstrap

__all__ = ["broker", "embedded_bootstrap", "kafka_bootstrap"]
