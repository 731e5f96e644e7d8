from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from datetime import datetime, timezone
from email.message import Message
from typing import Any, Callable, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas_webhooks import Verifier, WebhookError, verify
from atlas_webhooks.testing import SECRET, delivery

OTHER = "whsec_b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVyISE="
SCHEMES = ["hex", "base64", "base64-dotted", "python-dict", "standard"]


def code_of(call: Callable[[], Any]) -> Optional[str]:
    try:
        call()
    except WebhookError as error:
        return error.code
    return None


def signed_as(scheme: str) -> str:
    return "hex" if scheme == "standard" else scheme


def test_event_holds_what_the_request_says() -> None:
    at = 1772442000.123
    headers, body = delivery(
        "customer.created", data_text='{"id":"c_1","name":"José\x7f"}', id="evt_1", webhook_id="wh_1",
        object_id="50% a", attempt=3, sequence=42, test=True, replay="rpl_1", at=at,
    )
    event = Verifier(SECRET, now=lambda: at).verify(headers, body)
    assert event.topic == "customer.created"
    assert event.data == {"id": "c_1", "name": "José\x7f"}
    assert event.data_text == '{"id":"c_1","name":"Jos\\u00e9\\u007f"}'
    assert event.signed_at == datetime(2026, 3, 2, 9, 0, 0, 123000, timezone.utc)
    assert (event.id, event.id_verified, event.webhook_id, event.object_id) == ("evt_1", True, "wh_1", "50% a")
    assert (event.attempt, event.sequence, event.test, event.replay) == (3, 42, True, "rpl_1")
    assert event.signature == headers["X-Atlas-Webhook-Signature"]


@pytest.mark.parametrize(
    "data, as_object",
    [('{"id": 1}', '{"id": 1}'), ("[1, 1.0]", "[1, 1.0]"), ('"text"', '"text"'), ("null", "null"), ("-0.0", "-0.0"),
     ('"{\\"id\\": 1}"', '{"id": 1}'), ('"1"', "1")],
)
def test_data_is_the_document_in_both_formats(data: str, as_object: str) -> None:
    for format in ("string", "object"):
        headers, body = delivery(data_text=data, format=format)
        assert Verifier(SECRET, format=format).verify(headers, body).data_text == data
        assert verify(headers, body, SECRET).data_text == (data if format == "string" else as_object)


def test_any_of_several_secrets() -> None:
    headers, body = delivery()
    for secrets in ([SECRET, OTHER], (OTHER, SECRET), iter([OTHER, "0123456789abcdef", SECRET])):
        verify(headers, body, secrets)
    assert code_of(lambda: verify(headers, body, [OTHER, "0123456789abcdef"])) == "signature_mismatch"


def test_rotation_verifies_both_ways() -> None:
    headers, body = delivery(other=OTHER)
    for secret in (SECRET, OTHER):
        Verifier(secret, scheme="standard").verify(headers, body)
    assert code_of(lambda: verify(headers, body, OTHER)) == "signature_mismatch"


def test_without_secret_nothing_verifies() -> None:
    headers, body = delivery()
    for secrets in (None, "", [], [""], [SECRET, ""], [SECRET, None], [SECRET, 5]):
        assert code_of(lambda: verify(headers, body, secrets)) == "secret_missing"
    assert code_of(lambda: Verifier("an imported secret", scheme="standard").verify(headers, body)) == "secret_malformed"
    assert code_of(lambda: Verifier(SECRET, scheme="sha1").verify(headers, body)) == "scheme_unknown"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "scheme, remove, code",
    [
        ("hex", ["X-Atlas-Webhook-Signature"], "signature_missing"),
        ("hex", ["X-Atlas-Webhook-Signature-Timestamp"], None),  # the later revisions' name is there
        ("hex", ["X-Atlas-Webhook-Timestamp"], None),
        ("hex", ["X-Atlas-Webhook-Signature-Timestamp", "X-Atlas-Webhook-Timestamp"], "timestamp_missing"),
        ("hex", ["webhook-id", "webhook-timestamp", "webhook-signature"], None),
        ("standard", ["X-Atlas-Webhook-Signature"], None),
        ("standard", ["webhook-signature"], "signature_missing"),
        ("standard", ["webhook-id"], "id_missing"),
        ("standard", ["webhook-timestamp"], "timestamp_missing"),
    ],
)
def test_missing_headers(scheme: Any, remove: list[str], code: Optional[str]) -> None:
    headers, body = delivery()
    for name in remove:
        del headers[name]
    assert code_of(lambda: Verifier(SECRET, scheme=scheme).verify(headers, body)) == code


@pytest.mark.parametrize(
    "tolerance, age, code",
    [
        (300, 0, None), (300, 299.9, None), (300, 300.1, "timestamp_too_old"), (300, -299.9, None),
        (300, -300.1, "timestamp_too_new"), (1, 0.9, None), (1, 2, "timestamp_too_old"), (86400, 80000, None),
        (-1, 1e9, None), (-1, -1e9, None),
    ],
)
def test_tolerance(tolerance: float, age: float, code: Optional[str]) -> None:
    headers, body = delivery(at=1772442000.5)
    verifier = Verifier(SECRET, tolerance=tolerance, now=lambda: 1772442000.5 + age)
    try:
        verifier.verify(headers, body)
        assert code is None
    except WebhookError as error:
        assert error.code == code and error.age == pytest.approx(age) and error.status == 401


def test_id_is_verified_only_for_this_request() -> None:
    now = time.time()
    earlier, _ = delivery(id="evt_2", at=now - 2)
    standard = ["webhook-id", "webhook-timestamp", "webhook-signature"]
    genuine, body = delivery(id="evt_1", at=now)
    for change in (
        {"webhook-id": "evt_forged"},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": ""},
        {name: earlier[name] for name in standard},
        {"webhook-signature": f"{genuine['webhook-signature']} " * 17},
    ):
        event = verify({**genuine, **change}, body, SECRET)
        assert (event.id, event.id_verified) == ("evt_1", False)
    event = verify({**genuine, "X-Atlas-Webhook-Event-Id": "evt_forged"}, body, SECRET)
    assert (event.id, event.id_verified) == ("evt_1", True)


def sign(body: str) -> dict[str, str]:
    timestamp = f"{int(time.time())}.5"
    mac = hmac.new(SECRET.encode(), f"{timestamp}.{body}".encode("utf-8", "surrogatepass"), hashlib.sha256)
    return {"X-Atlas-Webhook-Signature": mac.hexdigest(), "X-Atlas-Webhook-Signature-Timestamp": timestamp}


@pytest.mark.parametrize(
    "body",
    ["", "[]", "{}", '{"event":"conversation"}', '{"data":"{}"}', '{"event":1,"data":"{}"}', '{"event":null,"data":1}',
     '{"event":"a","data":NaN}', '{"event":"a","data":1}x', '{"event":"a","data":1', '{"event":"a" "data":1}', "\ufeff{}",
     '{"event":"a","data":' + "[" * 100_000, '{"event":"a",}', "{5:5}", '{"event":"a","data":"\ud800"}'],
)
def test_genuine_body_that_is_no_event(body: str) -> None:
    assert code_of(lambda: verify(sign(body), body, SECRET)) == "body_malformed"


def test_genuine_data_that_is_not_of_the_format() -> None:
    for body in ('{"event":"conversation","data":{}}', '{"event":"conversation","data":"no JSON"}'):
        assert code_of(lambda: Verifier(SECRET, format="string").verify(sign(body), body)) == "body_malformed"


def test_integers_of_any_length() -> None:
    digits = "9" * 5000
    headers, body = delivery(data_text=digits)
    assert verify(headers, body, SECRET).data_text == digits


def shapes(headers: dict[str, str]) -> dict[str, Any]:
    message = Message()
    for name, value in headers.items():
        message[name] = value
    return {
        "dict": headers,
        "lower case": {name.lower(): value for name, value in headers.items()},
        "upper case": {name.upper(): value for name, value in headers.items()},
        "lists": {name: [value] for name, value in headers.items()},
        "empty lists": {"Accept": [], "Webhook-Other": [], **headers},
        "bytes": {name.encode(): value.encode() for name, value in headers.items()},
        "pairs": list(headers.items()),
        "pairs of bytes": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "an iterator of pairs": iter(headers.items()),
        "http.server": message,
        "WSGI environ": {"REQUEST_METHOD": "POST", "wsgi.input": None,
                         **{"HTTP_" + name.upper().replace("-", "_"): value for name, value in headers.items()}},
        "ASGI scope": {"type": "http", "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()]},
        "serverless event": {"headers": headers, "body": None},
        "serverless event, many values": {"headers": None, "multiValueHeaders": {name: [value] for name, value in headers.items()}},
        "serverless event, both": {"headers": {"Accept": "*/*"}, "multiValueHeaders": {name: [value] for name, value in headers.items()}},
    }


@pytest.mark.parametrize("shape", shapes({}))
def test_header_shapes(shape: str) -> None:
    headers, body = delivery(id="evt_1")
    event = verify(shapes(headers)[shape], body, SECRET)
    assert event.id_verified and event.sequence == 1


def test_header_shapes_of_frameworks() -> None:
    aiohttp_headers = pytest.importorskip("multidict").CIMultiDict
    headers, body = delivery()
    environ = shapes(headers)["WSGI environ"]
    for shape in (
        pytest.importorskip("werkzeug.datastructures").Headers(headers),
        pytest.importorskip("werkzeug.datastructures").EnvironHeaders(environ),
        pytest.importorskip("starlette.datastructures").Headers(headers),
        pytest.importorskip("django.http.request").HttpHeaders(environ),
        aiohttp_headers(headers),
        pytest.importorskip("httpx").Headers(headers),
    ):
        assert verify(shape, body, SECRET).id_verified


@pytest.mark.parametrize("source", [None, 5, "text", b"bytes", [], [1, 2], ["ab"], {}, {1: 2}, {"headers": "x"}, {"headers": []}, object()])
def test_what_has_no_headers(source: Any) -> None:
    assert code_of(lambda: verify(source, b"{}", SECRET)) == "signature_missing"


def test_body_shapes() -> None:
    headers, body = delivery()
    for shape in (body, bytearray(body), memoryview(body), body.decode()):
        verify(headers, shape, SECRET)
    for shape in (None, {"event": "x"}, 5):
        assert code_of(lambda: verify(headers, shape, SECRET)) == "body_unreadable"  # type: ignore[arg-type]


def test_serverless() -> None:
    headers, body = delivery()
    verifier = Verifier(SECRET)
    encoded = base64.b64encode(body).decode()
    for request in (
        {"headers": headers, "body": body.decode(), "isBase64Encoded": False},
        {"headers": headers, "body": encoded, "isBase64Encoded": True},
        {"multiValueHeaders": {name: [value] for name, value in headers.items()}, "body": body.decode()},
    ):
        assert verifier.verify_serverless(request).id_verified
    for request, code in (
        ({"headers": headers, "body": "%%%", "isBase64Encoded": True}, "body_unreadable"),
        ({"headers": headers, "body": "é", "isBase64Encoded": True}, "body_unreadable"),
        ({"headers": headers, "body": None}, "signature_mismatch"),
        ({"headers": headers}, "signature_mismatch"),
        ({}, "signature_missing"),
        (None, "signature_missing"),
    ):
        assert code_of(lambda: verifier.verify_serverless(request)) == code  # type: ignore[arg-type]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=25)
@given(data=json_values, scheme=st.sampled_from(SCHEMES), format=st.sampled_from(["string", "object"]))
def test_any_document_verifies(data: Any, scheme: Any, format: Any) -> None:
    format = "string" if scheme == "python-dict" else format
    headers, body = delivery(data=[data], scheme=signed_as(scheme), format=format)
    event = Verifier(SECRET, scheme=scheme, format=format).verify(headers, body)
    assert event.data == [data] and event.id_verified
    assert body.isascii()
    assert json.dumps(json.loads(body), separators=(",", ":")).encode() == body or format == "object"


@settings(max_examples=40)
@given(scheme=st.sampled_from(SCHEMES), format=st.sampled_from(["string", "object"]), draw=st.data())
def test_any_flipped_bit_is_refused(scheme: Any, format: Any, draw: st.DataObject) -> None:
    format = "string" if scheme == "python-dict" else format
    headers, body = delivery(scheme=signed_as(scheme), format=format, id="evt_1", at=1772442000.123)
    Verifier(SECRET, scheme=scheme, format=format, tolerance=-1).verify(headers, body)  # the control
    names = ["webhook-signature", "webhook-timestamp", "webhook-id"] if scheme == "standard" else [
        "X-Atlas-Webhook-Signature", "X-Atlas-Webhook-Signature-Timestamp"]
    parts = {"body": body, "secret": SECRET.encode(), **{name: headers[name].encode() for name in names}}
    part = draw.draw(st.sampled_from(sorted(parts)))
    bit = draw.draw(st.integers(0, len(parts[part]) * 8 - 1))
    changed = bytearray(parts[part])
    changed[bit // 8] ^= 1 << bit % 8
    secret = SECRET
    if part == "body":
        body = bytes(changed)
    elif part == "secret":
        secret = changed.decode("latin-1")
    else:
        headers[part] = changed.decode("latin-1")
    assert code_of(lambda: Verifier(secret, scheme=scheme, format=format, tolerance=-1).verify(headers, body)) is not None


names = st.sampled_from([*delivery()[0], "headers", "multiValueHeaders", "HTTP_WEBHOOK_ID", "x"]) | st.text(max_size=8)
values = st.text(max_size=40) | st.binary(max_size=40) | st.none() | st.integers() | st.lists(st.text(max_size=8), max_size=2)


@settings(max_examples=40)
@given(
    headers=st.dictionaries(names, values | st.dictionaries(names, values, max_size=4), max_size=8)
    | st.lists(st.tuples(names, values), max_size=8) | values,
    body=values, secrets=st.text(max_size=20) | st.lists(st.text(max_size=20) | st.none(), max_size=3) | st.none(),
    scheme=st.sampled_from([*SCHEMES, "other"]), encoded=st.booleans(),
)
def test_strangers_get_no_other_exception(headers: Any, body: Any, secrets: Any, scheme: Any, encoded: bool) -> None:
    verifier = Verifier(secrets, scheme=scheme)
    for call in (
        lambda: verifier.verify(headers, body),
        lambda: verifier.verify_serverless({"headers": headers, "body": body, "isBase64Encoded": encoded}),
        lambda: verifier.verify_serverless(headers),
    ):
        assert code_of(call) is not None


@settings(max_examples=40)
@given(body=st.text() | st.from_regex(r'\{"event":"[a-z]*","data":.*\}', fullmatch=True), format=st.sampled_from(["string", "object", None]))
def test_signed_garbage_gets_no_other_exception(body: str, format: Any) -> None:
    assert code_of(lambda: Verifier(SECRET, format=format).verify(sign(body), body)) in (None, "body_malformed", "signature_mismatch")


@settings(max_examples=25)
@given(seconds=st.from_regex(r"[0-9]{1,15}(\.[0-9]{1,15})?", fullmatch=True))
def test_any_time_is_a_time(seconds: str) -> None:
    body = '{"event":"conversation","data":"{}"}'
    mac = hmac.new(SECRET.encode(), f"{seconds}.{body}".encode(), hashlib.sha256)
    headers = {"X-Atlas-Webhook-Signature": mac.hexdigest(), "X-Atlas-Webhook-Signature-Timestamp": seconds}
    assert Verifier(SECRET, tolerance=-1).verify(headers, body).signed_at.tzinfo is timezone.utc
    assert code_of(lambda: verify(headers, body, SECRET)) in (None, "timestamp_too_old", "timestamp_too_new")
