"""Why a request was refused."""

from __future__ import annotations

from typing import Literal, Optional

Code = Literal[
    "signature_missing",
    "signature_mismatch",  # body, timestamp, secret or scheme is not what was signed
    "timestamp_missing",
    "timestamp_malformed",
    "timestamp_too_old",  # genuine, but a repetition of an old request, or a clock is wrong
    "timestamp_too_new",
    "id_missing",  # scheme "standard" only
    "body_malformed",  # genuine, but no event of this format
    "body_too_large",
    "body_unreadable",  # the connection ended within the body, or its base64 is none
    "secret_missing",  # the verifier has none, or an empty one
    "secret_malformed",  # scheme "standard" only: none of the secrets can be one
    "scheme_unknown",
    "keys_missing",  # scheme "ed25519" only, as the next: the verifier has no set of keys
    "key_missing",  # the request names none
    "key_unknown",  # it is not in the set
    "keys_unavailable",  # the set cannot be fetched now
]

# The answers other than 401.
_STATUS = {
    "body_too_large": 413,
    "body_unreadable": 400,
    "body_malformed": 422,
    "secret_missing": 500,
    "secret_malformed": 500,
    "scheme_unknown": 500,
    "keys_missing": 500,
    "keys_unavailable": 503,
}


class WebhookError(Exception):
    """A request that was refused. It never holds a secret, or a signature that would verify.

    ``code`` is stable and for programs, ``detail`` a sentence for people. ``age`` is how many seconds
    ago the request was signed, with the codes ``timestamp_too_old`` and, negative, ``timestamp_too_new``.
    """

    def __init__(self, code: Code, detail: str, *, age: Optional[float] = None) -> None:
        super().__init__(code, detail)
        self.code: Code = code
        self.detail = detail
        self.age = age

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"

    @property
    def status(self) -> int:
        """The status to answer with: 401 unless the body or the verifier itself is at fault."""
        return _STATUS.get(self.code, 401)
