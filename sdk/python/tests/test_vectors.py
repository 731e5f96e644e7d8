"""The vectors that every verification library of the project runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from atlas_webhooks import Verifier, WebhookError

VECTORS = json.loads((Path(__file__).parents[3] / "webhook/testdata/signature.json").read_text())
VALID, INVALID = VECTORS["valid"], VECTORS["invalid"]


def atlas(signature: str, timestamp: str) -> dict[str, str]:
    return {"X-Atlas-Webhook-Signature": signature, "X-Atlas-Webhook-Signature-Timestamp": timestamp}


def test_there_are_enough() -> None:
    assert len(VALID) >= 7 and len(INVALID) >= 15


@pytest.mark.parametrize("vector", VALID, ids=lambda v: v["event"])
def test_valid(vector: dict) -> None:
    published = json.loads(vector["published_data"])
    for scheme, format, body, signature in (
        ("hex", "string", vector["body"], vector["hex"]),
        ("base64", "string", vector["body"], vector["base64"]),
        ("base64-dotted", "string", vector["body"], vector["base64-dotted"]),
        ("python-dict", "string", vector["body"], vector["python-dict"]),
        ("hex", "object", vector["object_body"], vector["object_hex"]),
        ("base64", "object", vector["object_body"], vector["object_base64"]),
    ):
        verifier = Verifier(vector["secret"], scheme=scheme, format=format, now=lambda: float(vector["timestamp"]))
        event = verifier.verify(atlas(signature, vector["timestamp"]), body.encode())
        assert (event.topic, event.data, event.signature) == (vector["event"], published, signature)
        assert json.loads(event.data_text) == published
        assert not event.id_verified
    if "standard" in vector:
        verifier = Verifier(vector["secret"], scheme="standard", now=lambda: float(vector["timestamp"]))
        event = verifier.verify(vector["standard"], vector["body"])
        assert event.id_verified and event.id == vector["standard"]["webhook-id"]


@pytest.mark.parametrize("vector", INVALID, ids=lambda v: f"{v['why']} {v['timestamp']}")
def test_invalid(vector: dict) -> None:
    now = vector.get("now")
    verifier = Verifier(
        vector["secret"], scheme=vector["scheme"], tolerance=-1 if now is None else 300, now=lambda: now
    )
    with pytest.raises(WebhookError) as refused:
        verifier.verify(atlas(vector["signature"], vector["timestamp"]), vector["body"].encode())
    assert refused.value.code == vector["error"]
