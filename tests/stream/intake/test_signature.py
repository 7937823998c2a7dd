"""Metronome's signature, against the vector of its documentation (docs/vendors/metronome.md §3.3)."""

import pytest
from multidict import CIMultiDict

from stream.intake.signature import NotSigned, sign, verify

SECRET = "correct-horse-battery-staple"
DATE = "Mon, 02 Jan 2006 22:04:05 GMT"
SIGNED_AT = 1_136_239_445
BODY = b"""{
  "id": "b2c9e307-624e-4e7d-a5a4-1b74107d78c4",
  "type": "widget_created",
  "properties": {
    "customer_id": "5f794d50-085a-4db6-8d15-286e518b7225",
    "widget_id": "0891458d-b6f0-4fdd-a41e-380aae1a1e38"
  }
}"""
SIGNATURE = "b82652fa2246cf1d8a27e591f155c865f68b46c19b9213fd9c052f2419b4742b"


def check(body=BODY, *, secrets=(SECRET,), now=SIGNED_AT, **headers):
    given = {"Metronome-Webhook-Signature": SIGNATURE, "X-Metronome-Date": DATE}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    present = CIMultiDict({name: value for name, value in given.items() if value is not None})
    return verify(secrets, present, body, now=now, window_seconds=300)


def test_the_documented_vector_has_the_documented_signature():
    """216 bytes, no newline at the end."""
    assert len(BODY) == 216
    assert sign(SECRET, DATE, BODY) == SIGNATURE
    assert sign(SECRET, DATE, BODY + b"\n").startswith("11483a61")


def test_a_signed_body_is_believed_and_its_date_returned():
    assert check() == DATE


def test_any_secret_of_the_list_will_do():
    """While a secret is rotated, both are good."""
    assert check(secrets=("the-next-one", SECRET)) == DATE


@pytest.mark.parametrize("offset", [-300, 300])
def test_the_edges_of_the_window_are_inside(offset):
    assert check(now=SIGNED_AT + offset) == DATE


@pytest.mark.parametrize("offset", [-301, 301, 86_400])
def test_outside_the_window_on_either_side_it_is_stale(offset):
    with pytest.raises(NotSigned, match="stale date"):
        check(now=SIGNED_AT + offset)


def test_the_old_date_header_serves_when_the_new_one_is_missing():
    assert check(X_Metronome_Date=None, Date=DATE) == DATE


def test_the_new_date_header_wins_over_the_old_one():
    """A proxy may put its own Date."""
    assert check(Date="Tue, 03 Jan 2006 22:04:05 GMT") == DATE


@pytest.mark.parametrize("missing", ["Metronome_Webhook_Signature", "X_Metronome_Date"])
def test_a_missing_header_is_named(missing):
    with pytest.raises(NotSigned, match=r"missing (signature|date)"):
        check(**{missing: None})


@pytest.mark.parametrize(
    "signature", ["", SIGNATURE[:-1], SIGNATURE.upper(), "sha256=" + SIGNATURE, "é" * 64, "\udcff" * 64, "0" * 64]
)
def test_any_other_signature_is_refused(signature):
    with pytest.raises(NotSigned, match="signature"):
        check(Metronome_Webhook_Signature=signature)


@pytest.mark.parametrize("body", [b"", BODY + b"\n", BODY.replace(b"widget", b"gadget")])
def test_another_body_is_refused(body):
    with pytest.raises(NotSigned, match="wrong signature"):
        check(body)


def test_no_secret_believes_nothing():
    with pytest.raises(NotSigned, match="wrong signature"):
        check(secrets=())


@pytest.mark.parametrize(
    "date", ["yesterday", "Mon, 02 Jan 2006 22:04:05 -0000", "Mon, 99 Jan 2006 22:04:05 GMT", "\udcff"]
)
def test_a_date_that_nobody_can_read_has_its_own_reason(date):
    """Even when it was signed."""
    signature = sign(SECRET, date, BODY)
    with pytest.raises(NotSigned, match="unreadable date"):
        check(X_Metronome_Date=date, Metronome_Webhook_Signature=signature)
