"""`metronome-qbo key`: a new encryption key."""

import typer
from cryptography.fernet import Fernet


def key() -> None:
    """Print a new key for encryption_keys, which encrypt the stored QuickBooks tokens.

    To rotate, put the new key first and keep the old one behind it until every token was refreshed (100 days at most).

    Example: METRONOME_QBO_ENCRYPTION_KEYS="[\\"$(metronome-qbo key)\\"]"
    """
    typer.echo(Fernet.generate_key().decode())
