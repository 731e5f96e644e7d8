"""Signatures by public keys."""

import base64
import json

import pytest

from atlas_webhooks import KeySet, Verifier, WebhookError
from atlas_webhooks._keys import verify_ed25519

# RFC 8032, section 7.1, tests 1 to 3.
VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize("public, message, signature", VECTORS)
def test_rfc_8032(public, message, signature):
    key, text, given = bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature)
    assert verify_ed25519(key, text, given)
    assert not verify_ed25519(key, text + b"x", given)
    for i in (0, 31, 32, 63):
        assert not verify_ed25519(key, text, given[:i] + bytes([given[i] ^ 1]) + given[i + 1 :])
    assert not verify_ed25519(key[:31], text, given)
    assert not verify_ed25519(b"\xff" * 32, text, given)


def set_of(*kids):
    x = base64.urlsafe_b64encode(bytes.fromhex(VECTORS[0][0])).rstrip(b"=").decode()
    return json.dumps({"keys": [{"kty": "RSA", "kid": "r"}] + [{"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x} for kid in kids]}).encode()


def test_a_set_is_fetched_once_for_an_unknown_key():
    answers, asked = [set_of("k1"), set_of("k1", "k2")], []

    def fetch(url):
        asked.append(url)
        if not answers:
            raise OSError("away")
        return answers.pop(0)

    keys = KeySet("https://example.com/jwks.json?company_id=c1", fetch=fetch)
    for _ in range(3):
        assert len(keys.key("k1", 0)) == 32
    assert len(asked) == 1
    assert len(keys.key("k2", 20)) == 32
    for _ in range(5):
        with pytest.raises(WebhookError, match="key_unknown"):
            keys.key("k3", 21)
    assert len(asked) == 2
    assert len(keys.key("k1", 9000)) == 32  # it cannot be had now; what was published stays so
    with pytest.raises(WebhookError, match="keys_unavailable") as refused:
        keys.key("k3", 9020)
    assert refused.value.status == 503


def test_what_is_missing_is_named():
    body = b'{"event":"customer","data":"1"}'
    headers = {"webhook-id": "evt_1", "webhook-timestamp": "1", "webhook-signature": "v1a," + base64.b64encode(bytes(64)).decode()}
    verifier = Verifier(None, scheme="ed25519", keys=KeySet("", fetch=lambda _: set_of("k1")))
    for change, code in (
        ({"webhook-signature": "v1,x"}, "signature_missing"),
        ({"webhook-id": ""}, "id_missing"),
        ({}, "key_missing"),
        ({"x-atlas-webhook-key-id": "k2"}, "key_unknown"),
        ({"x-atlas-webhook-key-id": "k1"}, "signature_mismatch"),
        ({"x-atlas-webhook-key-id": "k1", "webhook-timestamp": "x"}, "timestamp_malformed"),
    ):
        keys = KeySet("", fetch=lambda _: set_of("k1"))
        verifier = Verifier(None, scheme="ed25519", keys=keys)
        with pytest.raises(WebhookError) as refused:
            verifier.verify({**headers, **change}, body)
        assert refused.value.code == code
    with pytest.raises(WebhookError, match="keys_missing"):
        Verifier(None, scheme="ed25519").verify(headers, body)
