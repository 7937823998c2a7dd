"""Stored tokens: encrypted, and readable after a key was rotated."""

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from typer.testing import CliRunner

from agents.clients.failures import CannotDecrypt
from stream.cli import cli
from stream.wiring import TokenCipher


def new_key() -> SecretStr:
    return SecretStr(Fernet.generate_key().decode())


def test_a_token_comes_back_and_cannot_be_read_on_the_way():
    cipher = TokenCipher([new_key()])
    encrypted = cipher.encrypt("a-refresh-token")
    assert "a-refresh-token" not in encrypted
    assert cipher.decrypt(encrypted) == "a-refresh-token"


def test_after_rotation_old_tokens_are_read_and_new_ones_need_the_new_key():
    old, new = new_key(), new_key()
    before, after = TokenCipher([old]), TokenCipher([new, old])
    assert after.decrypt(before.encrypt("token")) == "token"
    assert TokenCipher([new]).decrypt(after.encrypt("token")) == "token"


@pytest.mark.parametrize(
    "stored", ["", "not a token", TokenCipher([new_key()]).encrypt("token")], ids=["nothing", "no token", "another key"]
)
def test_what_no_key_opens_names_the_remedy(stored):
    with pytest.raises(CannotDecrypt, match="add the old key to the end"):
        TokenCipher([new_key()]).decrypt(stored)


def test_the_key_command_prints_a_key_that_encrypts():
    first, second = (CliRunner().invoke(cli, ["key"]).stdout.strip() for _ in range(2))
    assert first != second
    assert TokenCipher([SecretStr(first)]).encrypt("token")
