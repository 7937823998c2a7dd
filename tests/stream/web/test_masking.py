import json

from stream.web.masking import MASK, masked_json, masked_text, pretty

TOKENS = b"""{"access_token": "AAA", "nested": [{"refresh_token": "BBB"}], "sync_token": "3",
    "access_token_expires_at": "later"}"""


def test_tokens_are_masked_at_any_depth_and_nothing_else_is() -> None:
    assert json.loads(masked_json(TOKENS)) == {
        "access_token": MASK,
        "nested": [{"refresh_token": MASK}],
        "sync_token": "3",
        "access_token_expires_at": "later",
    }


def test_amounts_in_masked_json_keep_their_digits() -> None:
    assert masked_json(b'{"total": 0.10}') == '{"total":"0.10"}'


def test_tokens_in_broken_json_are_masked() -> None:
    text = masked_text('{"access_token": "AAA", "refresh_token": "BB')
    assert "AAA" not in text
    assert "BB" not in text


def test_tokens_stay_masked_where_the_number_beside_them_is_too_big_for_json() -> None:
    assert "AAA" not in masked_json(b'{"access_token": "AAA", "n": 123456789012345678901234567890}')


def test_tokens_below_the_depth_that_is_looked_at_do_not_show() -> None:
    deep = b'{"a":' * 150 + b'{"access_token": "AAA"}' + b"}" * 150
    assert "AAA" not in masked_json(deep)
    assert "AAA" not in pretty(deep, 10_000)


def test_numbers_are_shown_as_they_were_written() -> None:
    assert '"total": 0.10' in pretty(b'{"total": 0.10, "n": 123456789012345678901234567890}', 1000)


def test_json_within_a_text_is_shown_as_json_and_masked() -> None:
    shown = pretty(json.dumps({"answer": '{"total": 1.50, "api_key": "AAA"}'}).encode(), 1000)
    assert '"total": 1.50' in shown
    assert "AAA" not in shown


def test_what_is_too_long_is_cut_and_says_so() -> None:
    shown = pretty(b'"' + b"x" * 500 + b'"', 100)
    assert len(shown) < 150
    assert shown.endswith("more characters")


def test_bytes_that_are_no_text_are_shown_somehow() -> None:
    assert pretty(b"\xff\xfe\x00", 100)
