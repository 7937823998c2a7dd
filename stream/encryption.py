"""Tokens at rest: encrypted before they enter a topic or a table, with keys that can be rotated."""

from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr


class CannotDecrypt(Exception):
    """A stored token was encrypted with a key that is not in encryption_keys: add the old key to the end of it."""

    def __init__(self) -> None:
        super().__init__(str(type(self).__doc__))


class TokenCipher:
    """Encrypts with the first of `keys`, decrypts with any of them. `keys` are Fernet keys, at least one."""

    def __init__(self, keys: Sequence[SecretStr]) -> None:
        self._fernet = MultiFernet([Fernet(key.get_secret_value().encode()) for key in keys])

    def encrypt(self, token: str) -> str:
        return self._fernet.encrypt(token.encode()).decode()

    def decrypt(self, encrypted: str) -> str:
        """Raises `CannotDecrypt`."""
        try:
            return self._fernet.decrypt(encrypted.encode()).decode()
        except InvalidToken:
            raise CannotDecrypt from None
