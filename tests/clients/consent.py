"""What a person does on the consent page, without a browser: read it and follow its first way to connect."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.error import HTTPError
from urllib.parse import urljoin
from urllib.request import HTTPRedirectHandler, build_opener

import pytest

from tests import BOUND_SECONDS


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.targets += [value for name, value in attrs if name == "href" and value]


class _StayHere(HTTPRedirectHandler):
    """The app that would be called back does not listen."""

    def redirect_request(self, *_: object) -> None:
        return None


def click_connect(authorization_url: str) -> str:
    """The address that the consent page sends the browser back to: redirect_uri with code, state and realmId."""
    opener = build_opener(_StayHere)
    page = _Links()
    with opener.open(authorization_url, timeout=BOUND_SECONDS) as response:
        page.feed(response.read().decode())
    assert page.targets, "the consent page has no link"
    with pytest.raises(HTTPError) as answered:
        opener.open(urljoin(authorization_url, page.targets[0]), timeout=BOUND_SECONDS).close()
    with answered.value as redirect:
        assert redirect.code == 302
        return str(redirect.headers["Location"])
