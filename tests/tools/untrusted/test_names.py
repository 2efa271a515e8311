"""Any name that a file system takes, through both sides: nothing in it becomes part of a request's structure."""

from __future__ import annotations

import os
import re
import tempfile
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.tools.parity import PROVIDERS, outcome_of, run_new
from tests.tools.untrusted.conftest import Ground
from tools.storage.local import LocalStorage
from tools.storage.placement import decode_key, encode_key
from tools.storage.supabase_terms import describe

names = (
    st.binary(min_size=1, max_size=255)
    | st.text(min_size=1, max_size=255).map(lambda text: text.encode(errors="surrogatepass")[:255])
    | st.text(alphabet='\r\n"\\;=%: -filename', min_size=1, max_size=60).map(str.encode)
).filter(lambda name: not set(name) & {0, 0x2F} and name not in {b".", b".."})


def forms(heard: list[bytearray]) -> list[tuple[bytes, bytes]]:
    """Head and body of each form that was sent to a provider."""
    requests = (bytes(connection).partition(b"\r\n\r\n") for connection in heard)
    return [(head, body) for head, _, body in requests if b"multipart/form-data" in head]


def check_form(head: bytes, body: bytes) -> None:
    """Two parts, each with the headers it must have and no others, and the content as it was."""
    match = re.search(rb"boundary=(\S+)", head)
    assert match is not None
    parts = body.split(b"--" + match[1])
    assert [parts[0], parts[-1].strip()] == [b"", b"--"]
    assert len(parts) == 4
    seen = []
    for part in parts[1:-1]:
        part_head, _, content = part.strip(b"\r\n").partition(b"\r\n\r\n")
        headers = BytesHeaderParser().parsebytes(part_head)
        assert not headers.defects
        seen.append((sorted(name.lower() for name in headers), content))
    assert seen[0][0] == ["content-disposition"]
    assert seen[1] == (["content-disposition", "content-type"], b"harmless")


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(b'a"\r\nX-Injected: yes\r\n\r\nb.txt')
@example(b"\xff\xfe\x80.txt")
@example("ü漢🙂".encode() * 28)
@given(names)
def test_a_name_stays_a_name(ground: Ground, name: bytes) -> None:
    """Both sides send the same form with the same outcome, and the form has the structure it must have."""
    with tempfile.TemporaryDirectory(dir=ground.root) as folder:
        path = Path(os.fsdecode(os.path.join(os.fsencode(folder), name)))  # noqa: PTH118  # of bytes
        path.write_bytes(b"harmless")
        for provider in PROVIDERS:
            outcomes: list[Any] = []
            for run in (provider.legacy, lambda *args, provider=provider: run_new(provider, *args)):
                ground.relay.heard.clear()
                storage = LocalStorage(Path(folder) / "storage")
                outcomes.append(outcome_of(lambda run=run, storage=storage: run(path, storage, "file-extract")))  # type: ignore[misc]  # bound at once
                for head, body in forms(ground.relay.heard):
                    check_form(head, body)
            assert outcomes[0] == outcomes[1]


@given(names)
def test_a_name_is_a_key_and_harmless_metadata(name: bytes) -> None:
    """The key gives the name back and neither it nor the metadata can end a header's line."""
    text = os.fsdecode(name)
    key = encode_key(f"kimi-gateway/{text}")
    assert decode_key(key) == f"kimi-gateway/{text}"
    assert key.isascii()
    assert key.isprintable()
    described = describe(original_name=text, mime_type=None, file_type="user_upload", sha256="0" * 64)
    assert described.metadata_json.isascii()
    assert described.metadata_json.isprintable()
