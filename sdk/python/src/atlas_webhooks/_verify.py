"""Verification of requests."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Literal, NamedTuple, Optional, Union

from ._errors import WebhookError
from ._event import Event, Format, parse_body, read_headers
from ._headers import Getter, reader
from ._keys import KeySet, verify_ed25519

Scheme = Literal["hex", "base64", "base64-dotted", "python-dict", "standard", "ed25519"]
"""How a webhook's requests are signed: its ``signature_scheme``, or ``standard`` for the webhook-* headers,
``ed25519`` for their signature by a public key."""

DEFAULT_TOLERANCE = 300.0
"""How many seconds the signed time may lie from now, in either direction."""

DEFAULT_MAX_BODY = 4 << 20
"""More bytes than Atlas sends: at most 1 MiB of body in its default configuration."""

Body = Union[bytes, bytearray, memoryview, str]

_MAX_SIGNATURES = 16  # bounds the work that a stranger's header can cause; a rotation needs two
_TIMESTAMP = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,15}))?")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LAST_SECOND = 253402300799  # of the year 9999, the last that datetime knows
_IPAD = bytes(c ^ 0x36 for c in range(256))
_OPAD = bytes(c ^ 0x5C for c in range(256))


class _Key:
    """HMAC-SHA256 (RFC 2104) with the key's two blocks hashed once."""

    def __init__(self, key: bytes) -> None:
        block = (hashlib.sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
        self._inner = hashlib.sha256(block.translate(_IPAD))
        self._outer = hashlib.sha256(block.translate(_OPAD))

    def digest(self, message: bytes) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.digest()


class _Signed(NamedTuple):
    """What a verified signature vouches for."""

    timestamp: str
    at: float
    signature: str


class Verifier:
    """Verifies the requests of one webhook, or of several with the same scheme.

    ``secrets`` is the webhook's secret; several while a rotation runs, or for several webhooks: a
    request is genuine if one of them signed it. ``format`` is the webhook's ``data_format``; without
    it each body tells. ``tolerance`` is in seconds; below 0 the time is not checked.

    It is not changed by its methods, which may be called from several threads. It never raises when
    it is made: a missing secret is an error of each request, so that a receiver starts and says so.
    """

    def __init__(
        self,
        secrets: Union[str, Iterable[str], None],
        *,
        scheme: Scheme = "hex",
        format: Optional[Format] = None,
        tolerance: float = DEFAULT_TOLERANCE,
        now: Callable[[], float] = time.time,
        max_body: int = DEFAULT_MAX_BODY,
        keys: Optional[KeySet] = None,
    ) -> None:
        given = [secrets] if isinstance(secrets, str) else list(secrets or ())
        if not all(isinstance(secret, str) and secret for secret in given):
            given = []
        self._keys = [_Key(secret.encode("utf-8", "replace")) for secret in given]
        self._standard_keys = [_Key(key) for key in map(_standard_key, given) if key]
        self.keys = keys
        self.scheme, self.format, self.tolerance, self.now, self.max_body = scheme, format, tolerance, now, max_body

    def verify(self, headers: Any, body: Body) -> Event:
        """Returns the event of a request whose signature is by one of the secrets and whose time is
        within the tolerance.

        ``headers`` may have any shape that a server hands out (see the guide), ``body`` is what
        arrived, as bytes or text. Raises :class:`WebhookError` and nothing else. The signature is
        checked before the time, so that ``timestamp_too_old`` is said of genuine requests only.
        """
        self._check()
        get, raw = reader(headers), _bytes(body)
        if self.scheme == "ed25519":
            signed = self._verify_ed25519(get, raw)
        else:
            signed = self._verify_standard(get, raw) if self.scheme == "standard" else self._verify_atlas(get, raw)
        self._check_time(signed.at)
        topic, data, text = parse_body(raw, self.format)
        standard_id = get("webhook-id") or ""
        vouched = self.scheme in ("standard", "ed25519") or (
            # Of the same signing as the Atlas header, so that nobody can put the genuine id of one
            # request on another that has the same body.
            get("webhook-timestamp") == signed.timestamp.partition(".")[0]
            and bool(self._standard_signature(get, raw))
        )
        event = Event(
            topic=topic,
            data=data,
            data_text=text,
            signed_at=_EPOCH + timedelta(seconds=min(signed.at, _LAST_SECOND)),
            id=standard_id if vouched else get("x-atlas-webhook-event-id") or standard_id,
            id_verified=vouched,
            signature=signed.signature,
        )
        read_headers(event, get)
        return event

    def verify_serverless(self, request: Mapping[str, Any]) -> Event:
        """Verifies the event of a serverless function: ``headers`` or ``multiValueHeaders``, ``body``
        and ``isBase64Encoded``, as API gateways, load balancers and function URLs pass them."""
        self._check()
        body = request.get("body") if isinstance(request, Mapping) else None
        if isinstance(body, str) and request.get("isBase64Encoded"):
            try:
                body = base64.b64decode(body, validate=True)
            except (ValueError, binascii.Error) as error:
                raise WebhookError("body_unreadable", "the body is said to be base64 and is not") from error
        return self.verify(request, b"" if body is None else body)

    def _check(self) -> None:
        """Finds what is wrong with the verifier itself."""
        if self.scheme == "ed25519":
            if self.keys is None:
                raise WebhookError("keys_missing", "no set of public keys was given")
            return
        if not self._keys:
            raise WebhookError("secret_missing", "no secret was given, or an empty one, which would let anybody sign")
        if self.scheme not in ("hex", "base64", "base64-dotted", "python-dict", "standard"):
            raise WebhookError("scheme_unknown", f"there is no scheme {self.scheme!r}")

    def _verify_atlas(self, get: Getter, body: bytes) -> _Signed:
        signature = get("x-atlas-webhook-signature")
        if not signature:
            raise WebhookError("signature_missing", "the request has no X-Atlas-Webhook-Signature")
        timestamp, at = _read_timestamp(get, "X-Atlas-Webhook-Signature-Timestamp", "X-Atlas-Webhook-Timestamp")
        if self.scheme == "python-dict":
            body = _python_repr(body)
        message = timestamp.encode() + (b"" if self.scheme == "base64" else b".") + body
        given, genuine = signature.encode("utf-8", "replace"), False
        for key in self._keys:
            digest = key.digest(message)
            expected = base64.b64encode(digest) if self.scheme.startswith("base64") else binascii.hexlify(digest)
            genuine |= hmac.compare_digest(expected, given)
        if not genuine:
            raise WebhookError("signature_mismatch", "no secret given here gives this signature for this timestamp and body")
        return _Signed(timestamp, at, signature)

    def _verify_standard(self, get: Getter, body: bytes) -> _Signed:
        signature = get("webhook-signature")
        if not signature:
            raise WebhookError("signature_missing", "the request has no webhook-signature")
        if not get("webhook-id"):
            raise WebhookError("id_missing", "the request has no webhook-id")
        timestamp, at = _read_timestamp(get, "webhook-timestamp")
        if not self._standard_keys:
            raise WebhookError("secret_malformed", "a secret for the webhook-* headers is whsec_ and the base64 of 24–64 bytes")
        signature = self._standard_signature(get, body)
        if not signature:
            raise WebhookError(
                "signature_mismatch",
                "no secret given here gives a signature of webhook-signature for this id, timestamp and body",
            )
        return _Signed(timestamp, at, signature)

    def _verify_ed25519(self, get: Getter, body: bytes) -> _Signed:
        """Checks the signatures v1a by the key that the request names."""
        text = get("webhook-signature") or ""
        parts = text.split()
        given = [part[4:] for part in parts if part.startswith("v1a,")]
        if not given or len(parts) > _MAX_SIGNATURES:
            raise WebhookError("signature_missing", "the request has no signature v1a in webhook-signature")
        id, kid = get("webhook-id"), get("x-atlas-webhook-key-id")
        if not id:
            raise WebhookError("id_missing", "the request has no webhook-id")
        if not kid:
            raise WebhookError("key_missing", "the request has no X-Atlas-Webhook-Key-Id")
        timestamp, at = _read_timestamp(get, "webhook-timestamp")
        assert self.keys is not None
        key = self.keys.key(kid, self.now())
        message = f"{id}.{timestamp}.".encode("utf-8", "replace") + body
        for encoded in given:
            try:
                signature = base64.b64decode(encoded, validate=True)
            except ValueError:
                continue
            if verify_ed25519(key, message, signature):
                return _Signed(timestamp, at, text)
        raise WebhookError("signature_mismatch", f"the key {kid[:80]!r} did not give this signature for this id, timestamp and body")

    def _standard_signature(self, get: Getter, body: bytes) -> str:
        """The signature of webhook-signature that is by one of the secrets, "" for none."""
        signatures = (get("webhook-signature") or "").split()
        id, seconds = get("webhook-id"), get("webhook-timestamp")
        if not id or not seconds or len(signatures) > _MAX_SIGNATURES:
            return ""
        message = f"{id}.{seconds}.".encode("utf-8", "replace") + body
        genuine = ""
        for key in self._standard_keys:
            expected = b"v1," + base64.b64encode(key.digest(message))
            for signature in signatures:
                if hmac.compare_digest(expected, signature.encode("utf-8", "replace")):
                    genuine = genuine or signature
        return genuine

    def _check_time(self, at: float) -> None:
        if self.tolerance < 0:
            return
        age = self.now() - at
        if age > self.tolerance:
            raise WebhookError(
                "timestamp_too_old", f"it was signed {age:.0f} s ago, more than {self.tolerance:g} s", age=age
            )
        if age < -self.tolerance:
            raise WebhookError(
                "timestamp_too_new", f"it was signed {-age:.0f} s in the future, more than {self.tolerance:g} s", age=age
            )


def verify(headers: Any, body: Body, secrets: Union[str, Iterable[str], None]) -> Event:
    """Verifies a request by the default scheme. See :meth:`Verifier.verify`."""
    return Verifier(secrets).verify(headers, body)


def _bytes(body: Any) -> bytes:
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode("utf-8", "surrogatepass")
    try:
        return bytes(memoryview(body))
    except TypeError:
        raise WebhookError("body_unreadable", f"the body is {type(body).__name__}, not the bytes or the text that arrived") from None


def _read_timestamp(get: Getter, *names: str) -> tuple[str, float]:
    """Reads the first of the named headers that the request has."""
    for name in names:
        text = get(name.lower())
        if text is None:
            continue
        if not _TIMESTAMP.fullmatch(text):
            raise WebhookError("timestamp_malformed", f"{name} is {text[:40]!r}, not seconds since the epoch")
        return text, float(text)
    raise WebhookError("timestamp_missing", f"the request has no {names[0]}")


def _standard_key(secret: str) -> Optional[bytes]:
    """The key of a Standard Webhooks signature: the decoded part of a secret that is whsec_ and the
    canonical base64 of 24–64 bytes. Any other secret has none."""
    prefix, text = secret[:6], secret[6:]
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return key if prefix == "whsec_" and 24 <= len(key) <= 64 and base64.b64encode(key).decode() == text else None


def _python_repr(body: bytes) -> bytes:
    """What Python prints for the parsed body: an object whose members are texts with different names."""

    try:
        parsed = _pairs_decoder.decode(body.decode())
        if not isinstance(parsed, dict) or not all(isinstance(value, str) for value in parsed.values()):
            raise ValueError("the body is not a JSON object whose members are all texts")
        return repr(parsed).encode("ascii")
    except (ValueError, RecursionError) as error:
        raise WebhookError("signature_mismatch", "the body cannot have been signed by this scheme") from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("two members have one name")
    return dict(pairs)


_pairs_decoder = json.JSONDecoder(object_pairs_hook=_distinct)
