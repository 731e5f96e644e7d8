"""The documentation's reference verifier, run on requests that were really sent.

Reads one JSON object per line from standard input:

    {"body": "...", "headers": {"X-Atlas-Webhook-Signature": "...", ...}, "secret": "...", "mode": "raw"}

and prints one line for each, "ok" or "mismatch: ..." with the two signatures. Header names may be in
any case; a value may be a text or a list whose first item counts. The mode is

    raw   the payload is the body's text as it arrived (scheme hex)
    dict  the payload is the parsed body, so that Python prints its repr (scheme python-dict)

In both modes the timestamp is parsed to a float first, as the reference declares it: it must
print as the text that was sent. For example:

    python3 internal/wire/testdata/reference.py < captured.ndjson | grep -vc '^ok$'

prints 0 if all verify. Input that is not of this form ends the program with an exception.
"""

import hashlib
import hmac
import json
import sys


def signature(secret: str, timestamp: float, payload) -> str:
    key = secret.encode("ascii")
    message = f"{timestamp}.{payload}".encode("ascii")
    return hmac.new(key, message, hashlib.sha256).hexdigest()


def check(request: dict) -> str:
    headers = {}
    for name, value in request["headers"].items():
        headers[name.lower()] = value[0] if isinstance(value, list) else value
    sent = headers["x-atlas-webhook-signature"]
    timestamp = float(headers["x-atlas-webhook-signature-timestamp"])
    payload = {"raw": str, "dict": json.loads}[request["mode"]](request["body"])
    computed = signature(request["secret"], timestamp, payload)
    if hmac.compare_digest(sent, computed):
        return "ok"
    return f"mismatch: sent {sent}, computed {computed}"


for line in sys.stdin:
    if line.strip():
        print(check(json.loads(line)), flush=True)
