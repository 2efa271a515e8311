"""Who takes part in the rows that upload, by name."""

from __future__ import annotations

import os
from dataclasses import replace

from bench.harness import Contender
from bench.running import NIQUESTS_FOLDER

ENGINE = "engine"
ENGINE_UVLOOP = "engine, uvloop"
GATEWAY = "engine with storage"
SHIM = "shim"
LEGACY = "legacy"
LEGACY_GATEWAY = "legacy with storage"
LEGACY_THREADS = "legacy, 32 threads"
OPENAI = "openai"
OPENAI_ASYNC = "openai, async"
CURL = "curl"
CURL_EACH = "curl, started each time"
RAW = "raw socket"

_OWN = "bench.clients.own"
_LIBRARIES = "bench.clients.libraries"

engine = Contender(name=ENGINE, entry=f"{_OWN}:engine")
engine_uvloop = replace(engine, name=ENGINE_UVLOOP, uvloop=True)
gateway = Contender(name=GATEWAY, entry=f"{_OWN}:engine_gateway")
shim = Contender(name=SHIM, entry="bench.clients.shimmed:shim")
legacy = Contender(name=LEGACY, entry=f"{_OWN}:legacy")
legacy_gateway = Contender(name=LEGACY_GATEWAY, entry=f"{_OWN}:legacy_gateway")
openai = Contender(name=OPENAI, entry="bench.clients.libraries:openai_sync")
openai_async = Contender(name=OPENAI_ASYNC, entry="bench.clients.libraries:openai_async")
zai = Contender(name="zai-sdk", entry="bench.clients.libraries:zai")
curl = Contender(name=CURL, entry="bench.clients.curl:curl", needs="curl")
curl_each = replace(curl, name=CURL_EACH, entry="bench.clients.curl:curl_each")
raw = Contender(name=RAW, entry="bench.clients.raw:raw")
raw_copying = replace(raw, name=f"{RAW}, copying", options={"copying": True})
httpx = Contender(name="httpx", entry=f"{_LIBRARIES}:httpx_sync")
httpx_async = Contender(name="httpx, async", entry=f"{_LIBRARIES}:httpx_async")
requests = Contender(name="requests", entry=f"{_LIBRARIES}:requests")
toolbelt = Contender(name="requests-toolbelt", entry=f"{_LIBRARIES}:requests_toolbelt")
niquests = Contender(
    name="niquests", entry=f"{_LIBRARIES}:niquests", environment={"PYTHONPATH": os.fspath(NIQUESTS_FOLDER)}
)
aiohttp = Contender(name="aiohttp FormData", entry=f"{_LIBRARIES}:aiohttp_form")

PEERS = (openai, openai_async, zai, httpx, httpx_async, requests, toolbelt, niquests, aiohttp)
"""What people would use instead."""
