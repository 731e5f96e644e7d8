"""Public keys, and signatures by them: ed25519 (RFC 8032) in the standard library's terms."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import urllib.request
from typing import Callable, Optional

from ._errors import WebhookError

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_SQRT = pow(2, (_P - 1) // 4, _P)

_Point = tuple[int, int, int, int]


def _add(a: _Point, b: _Point) -> _Point:
    x, y = (a[1] - a[0]) * (b[1] - b[0]) % _P, (a[1] + a[0]) * (b[1] + b[0]) % _P
    c, d = 2 * a[3] * b[3] * _D % _P, 2 * a[2] * b[2] % _P
    e, f, g, h = y - x, d - c, d + c, y + x
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(n: int, point: _Point) -> _Point:
    sum_ = (0, 1, 1, 0)
    while n:
        if n & 1:
            sum_ = _add(sum_, point)
        point, n = _add(point, point), n >> 1
    return sum_


def _point(text: bytes) -> Optional[_Point]:
    y = int.from_bytes(text, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    if y >= _P:
        return None
    x2 = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    x = pow(x2, (_P + 3) // 8, _P)
    if (x * x - x2) % _P:
        x = x * _SQRT % _P
    if (x * x - x2) % _P or (not x and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


_B = _point((4 * pow(5, _P - 2, _P) % _P).to_bytes(32, "little"))


def verify_ed25519(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether a signature is by a key. Everything in it is public: time tells nothing."""
    if len(public) != 32 or len(signature) != 64:
        return False
    a, r = _point(public), _point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= _L or _B is None:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % _L
    left, right = _times(s, _B), _add(r, _times(h, a))
    return (left[0] * right[2] - right[0] * left[2]) % _P == 0 and (left[1] * right[2] - right[1] * left[2]) % _P == 0


class KeySet:
    """The public keys of the company whose webhooks a receiver gets, for the scheme ``ed25519``.

    ``url`` is that of the server's set with the company in it:
    ``https://hooks.example.com/.well-known/atlas-webhooks/jwks.json?company_id=c1``. Without the company
    the set has the keys of all, and any of them could sign.

    It is fetched when it is needed first, kept for an hour, and fetched anew, once, for a key that is not
    in it. It may be shared by verifiers and threads.
    """

    def __init__(self, url: str, *, max_age: float = 3600, fetch: Optional[Callable[[str], bytes]] = None) -> None:
        self.url, self.max_age = url, max_age
        self._fetch = fetch or _get
        self._lock = threading.Lock()
        self._keys: dict[str, bytes] = {}
        self._fetched = self._tried = float("-inf")

    def key(self, kid: str, now: float) -> bytes:
        with self._lock:  # also while it is fetched: who comes meanwhile needs the same
            known = self._keys.get(kid)
            if known is not None and now - self._fetched < self.max_age:
                return known
            if now - self._tried >= _PAUSE:
                self._tried = now
                try:
                    self._keys, self._fetched = _read(self._fetch(self.url)), now
                except (OSError, ValueError) as error:
                    if known is None:
                        raise WebhookError("keys_unavailable", "the public keys cannot be fetched") from error
                known = self._keys.get(kid)
            if known is None:
                raise WebhookError("key_unknown", f"there is no public key {kid[:80]!r} in the set")
            return known


_PAUSE = 10.0  # between two fetches: strangers can name any key


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return bytes(answer.read(8 << 20))


def _read(text: bytes) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    document = json.loads(text)
    for k in document.get("keys", []) if isinstance(document, dict) else []:
        if isinstance(k, dict) and k.get("kty") == "OKP" and k.get("crv") == "Ed25519" and isinstance(k.get("kid"), str) and isinstance(k.get("x"), str):
            x = base64.urlsafe_b64decode(k["x"] + "=" * (-len(k["x"]) % 4))
            if len(x) == 32:
                keys[k["kid"]] = x
    if not keys:
        raise ValueError("there is no ed25519 key in the set")
    return keys
