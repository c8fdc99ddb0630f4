"""Only Mercado Pago's own signature is believed, whatever else a request carries."""

import hashlib
import hmac
import string
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comanda.payments.signature import Rejection, SignatureRejected, verify

SECRET = "sim-secret"
REQUEST_ID = "2066ca19-c6f1-498a-be75-1923005edd06"
DATA_ID = "123456"
TS = "1742505638683"
DIGEST = "8fb410cd516f30593bc589e9d637d522afd859f03132191434e4abd3483a4923"
HEADER = f"ts={TS},v1={DIGEST}"
NOW = datetime(2025, 3, 20, 21, 20, 38, 683_000, tzinfo=UTC)
TOLERANCE = timedelta(minutes=10)


def sign(manifest: str, secret: bytes = SECRET.encode()) -> str:
    return hmac.new(secret, manifest.encode(), hashlib.sha256).hexdigest()


def check(
    *,
    secret: str | bytes | list[str | bytes] = SECRET,
    header: str | None = HEADER,
    request_id: str | None = REQUEST_ID,
    data_id: str | None = DATA_ID,
    now: datetime = NOW,
    tolerance: timedelta = TOLERANCE,
) -> Rejection | None:
    try:
        verify(secret, header=header, request_id=request_id, data_id=data_id, now=now, tolerance=tolerance)
    except SignatureRejected as rejected:
        return rejected.reason
    return None


def test_a_rejection_says_why_and_nothing_of_the_signature() -> None:
    with pytest.raises(SignatureRejected) as rejected:
        verify(SECRET, header=None, request_id=REQUEST_ID, data_id=DATA_ID, now=NOW, tolerance=TOLERANCE)
    assert str(rejected.value) == "webhook signature missing"


def test_the_known_vector_is_genuine() -> None:
    assert sign(f"id:{DATA_ID};request-id:{REQUEST_ID};ts:{TS};") == DIGEST
    assert check() is None


@pytest.mark.parametrize("secret", [SECRET, SECRET.encode(), ["newer", SECRET], [SECRET.encode(), "older"]])
def test_a_secret_is_text_or_bytes_or_one_of_several(secret: str | bytes | list[str | bytes]) -> None:
    assert check(secret=secret) is None


@pytest.mark.parametrize(
    ("secrets", "place"),
    [(SECRET, 0), ([SECRET, "older"], 0), (["newer", SECRET, "oldest"], 1), (["newer", "older", SECRET], 2)],
)
def test_it_says_by_which_secret_it_was_signed(secrets: str | list[str | bytes], place: int) -> None:
    fits = verify(secrets, header=HEADER, request_id=REQUEST_ID, data_id=DATA_ID, now=NOW, tolerance=TOLERANCE)
    assert fits == place


@pytest.mark.parametrize("secret", ["", b"", [], [SECRET, ""]])
def test_an_empty_secret_is_an_error_of_ours(secret: str | bytes | list[str | bytes]) -> None:
    with pytest.raises(ValueError, match=r"^a webhook secret is empty$"):
        check(secret=secret)


@pytest.mark.parametrize(
    "header",
    [
        f" ts = {TS} , v1 = {DIGEST} ",
        f"v1={DIGEST},ts={TS}",
        f"ts={TS},v1={DIGEST},v2=whatever=this=is",
        f"v2=whatever,ts={TS},v3,v1={DIGEST}",
        f"ts={TS},v1={DIGEST},",
    ],
)
def test_parts_are_trimmed_in_any_order_and_unknown_ones_ignored(header: str) -> None:
    assert check(header=header) is None


@pytest.mark.parametrize("header", [None, "", "  "])
def test_no_header_is_missing(header: str | None) -> None:
    assert check(header=header) is Rejection.MISSING


@pytest.mark.parametrize(
    "header",
    [
        f"v1={DIGEST}",
        f"ts={TS}",
        f"ts={TS},v1",
        f"ts={TS},v1={DIGEST},v1={DIGEST}",
        f"ts={TS},ts={TS},v1={DIGEST}",
        f"ts={TS},v1={DIGEST.upper()}",
        f"ts={TS},v1={DIGEST[:-1]}",
        f"ts={TS},v1=={DIGEST}",
        f"ts={TS}0,v1={DIGEST}",
        f"ts=-{TS[:-1]},v1={DIGEST}",
        f"ts=,v1={DIGEST}",
        f"ts={TS},v1={'é' * 64}",
        "ts=١٧٤٢٥٠٥٦٣٨,v1=" + DIGEST,
    ],
)
def test_a_header_of_another_form_is_malformed(header: str) -> None:
    assert check(header=header) is Rejection.MALFORMED


def test_every_covered_part_is_covered() -> None:
    assert check(data_id="123457") is Rejection.FORGED
    assert check(data_id=None) is Rejection.FORGED
    assert check(request_id=REQUEST_ID[:-1] + "7") is Rejection.FORGED
    assert check(request_id=None) is Rejection.FORGED
    assert check(header=f"ts=1742505638684,v1={DIGEST}") is Rejection.FORGED
    assert check(header=f"ts={TS},v1={'0' * 64}") is Rejection.FORGED
    assert check(secret="sim-secreT") is Rejection.FORGED
    assert check(secret=["one", b"two"]) is Rejection.FORGED


def test_an_absent_or_empty_pair_is_left_out() -> None:
    without_id = f"ts={TS},v1={sign(f'request-id:{REQUEST_ID};ts:{TS};')}"
    assert check(header=without_id, data_id=None) is None
    assert check(header=without_id, data_id="") is None
    without_request = f"ts={TS},v1={sign(f'id:{DATA_ID};ts:{TS};')}"
    assert check(header=without_request, request_id=None) is None
    assert check(header=without_request, request_id="") is None


def test_an_id_with_letters_is_tried_as_it_stands_and_in_lower_case() -> None:
    for signed in ("ORD01JQ4S4KY8HWQ6NA5PXB65B3D3", "ord01jq4s4ky8hwq6na5pxb65b3d3"):
        header = f"ts={TS},v1={sign(f'id:{signed};request-id:{REQUEST_ID};ts:{TS};')}"
        assert check(header=header, data_id="ORD01JQ4S4KY8HWQ6NA5PXB65B3D3") is None
    upper = f"ts={TS},v1={sign(f'id:ABC;request-id:{REQUEST_ID};ts:{TS};')}"
    assert check(header=upper, data_id="abc") is Rejection.FORGED


def test_the_manifest_cannot_be_told_in_another_way() -> None:
    assert check(data_id=f"{DATA_ID};request-id:{REQUEST_ID}", request_id=None) is Rejection.MALFORMED
    assert check(data_id=None, request_id=f"x;ts:{TS}") is Rejection.MALFORMED
    assert check(data_id="1\u00e9") is Rejection.MALFORMED
    assert check(data_id="1" * 65) is Rejection.MALFORMED
    assert check(request_id="line\nbreak") is Rejection.MALFORMED
    assert check(data_id=DATA_ID + "\n") is Rejection.MALFORMED


def test_the_time_may_be_in_seconds() -> None:
    header = f"ts=1742505638,v1={sign(f'id:{DATA_ID};request-id:{REQUEST_ID};ts:1742505638;')}"
    assert check(header=header) is None
    assert check(header=header, now=NOW + timedelta(minutes=11)) is Rejection.STALE
    on_the_second = NOW.replace(microsecond=0)
    assert check(header=header, now=on_the_second + TOLERANCE) is None
    assert check(header=header, now=on_the_second - TOLERANCE) is None


@pytest.mark.parametrize("side", [-1, 1])
def test_a_genuine_signature_is_stale_outside_the_window_on_either_side(side: int) -> None:
    assert check(now=NOW + side * TOLERANCE) is None
    assert check(now=NOW + side * (TOLERANCE + timedelta(milliseconds=1))) is Rejection.STALE


def test_a_forged_signature_is_forged_however_old() -> None:
    assert check(header=f"ts={TS},v1={'0' * 64}", now=NOW + timedelta(days=1)) is Rejection.FORGED


ids = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=64)
times = st.integers(1_000_000_000, 9_999_999_999).map(str) | st.integers(10**12, 10**13 - 1).map(str)


@given(secret=st.binary(min_size=1, max_size=64), data_id=ids, request_id=st.uuids().map(str), ts=times)
@settings(deadline=None)
def test_what_is_signed_is_genuine(secret: bytes, data_id: str, request_id: str, ts: str) -> None:
    digest = sign(f"id:{data_id};request-id:{request_id};ts:{ts};", secret)
    header = f"ts={ts},v1={digest}"
    signed_at = datetime.fromtimestamp(int(ts) / (1000 if len(ts) == 13 else 1), UTC)
    assert check(secret=secret, header=header, data_id=data_id, request_id=request_id, now=signed_at) is None


@given(place=st.integers(0, 63), digit=st.sampled_from(string.hexdigits.lower()))
@settings(deadline=None)
def test_one_changed_digit_is_forged(place: int, digit: str) -> None:
    changed = DIGEST[:place] + digit + DIGEST[place + 1 :]
    expected = None if changed == DIGEST else Rejection.FORGED
    assert check(header=f"ts={TS},v1={changed}") is expected


@given(header=st.text(max_size=200), request_id=st.text(max_size=80), data_id=st.text(max_size=80))
@settings(deadline=None)
def test_anything_at_all_is_rejected_and_nothing_else(header: str, request_id: str, data_id: str) -> None:
    assert check(header=header, request_id=request_id, data_id=data_id) is not None
    assert check(header=HEADER, request_id=request_id, data_id=data_id) is not None
