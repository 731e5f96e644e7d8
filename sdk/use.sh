#!/bin/sh
# Installs the packages that were built, and verifies a request with each, as their users would.
set -eu
dist=$(realpath "$1")
python=$(realpath -s "$2")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

for package in "$dist"/*.whl "$dist"/*.tar.gz; do
	"$python" -m pip install --quiet --disable-pip-version-check --no-deps --no-index --no-build-isolation --target "python-$(basename "$package")" "$package"
	PYTHONPATH="python-$(basename "$package")" "$python" -I -c '
import os, sys
sys.path.insert(0, os.environ["PYTHONPATH"])
import atlas_webhooks, atlas_webhooks.stores, atlas_webhooks.testing as testing
assert atlas_webhooks.__file__.startswith(os.path.abspath(os.environ["PYTHONPATH"]))
assert os.path.exists(os.path.join(os.path.dirname(atlas_webhooks.__file__), "py.typed"))
print("Python", atlas_webhooks.__version__, atlas_webhooks.verify(*testing.delivery(), testing.SECRET).topic)'
done

echo '{"private": true}' >package.json
npm install --silent --no-audit --no-fund --offline "$dist"/*.tgz
cat >esm.mjs <<'END'
import { verify } from "atlas-webhooks";
import { webhook } from "atlas-webhooks/fetch";
import { delivery, secret } from "atlas-webhooks/testing";
const { headers, body } = await delivery();
console.log("ESM", (await verify(headers, body, secret)).topic, typeof webhook);
END
cat >cjs.cjs <<'END'
const { verify } = require("atlas-webhooks");
const { webhook } = require("atlas-webhooks/express");
const { delivery, secret } = require("atlas-webhooks/testing");
delivery().then(async ({ headers, body }) => console.log("CommonJS", (await verify(headers, body, secret)).topic, typeof webhook));
END
node esm.mjs
node cjs.cjs
