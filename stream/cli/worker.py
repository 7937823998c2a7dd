"""`metronome-qbo worker`: the agents."""

import asyncio

from .common import Config, load_settings, out

REQUIRED = (
    "kafka.bootstrap_servers",
    "metronome.token",
    "quickbooks.client_id",
    "quickbooks.client_secret",
    "encryption_keys",
)


def worker(config: Config = None) -> None:
    """Run the agents: enrich, translate, post, write-back and connections.

    Start as many as there is work for; each takes its share of the companies. Ends cleanly on SIGTERM.

    Examples:

      metronome-qbo worker

      metronome-qbo worker --config /etc/metronome-qbo.toml
    """
    from stream.engine.worker import run_worker  # with all of Faust, which `worker --help` need not wait for
    from stream.operations.connection_log import check_encryption_keys

    settings = load_settings(config, *REQUIRED)
    asyncio.run(run_worker(settings, lambda line: out.print(line, soft_wrap=True), check_encryption_keys))
