"""Defects in how the provider and the storage are asked, and in what is made of their answers."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_PROVIDERS = "tools/providers/spec.py"
_SDK: Final = "tools/providers/sdk.py"
_POOLED = "tools/storage/supabase_pooled.py"
_RESUMABLE = "tools/storage/tus_policy.py"
_STORAGE = "tools/storage/supabase.py"

PROVIDER: Final = (
    Mutant(
        defect="wrong Authorization scheme",
        file=_PROVIDERS,
        patch={'RedactedText(f"Bearer {key}")': 'RedactedText(f"Token {key}")'},
        shows_in="requests[*].headers.authorization",
    ),
    Mutant(
        defect="the other provider's key",
        file=_PROVIDERS,
        patch={'self._setting(settings, "api_key")': "settings.kimi_api_key"},
        shows_in="requests[*].headers.authorization",
    ),
    Mutant(
        defect="the answers' language is not asked for",
        file=_SDK,
        patch={'    extra_headers={"Accept-Language": "en-US,en"},': ""},
        shows_in="requests[*].headers.accept-language",
    ),
    Mutant(
        defect="wrong address",
        file=_PROVIDERS,
        patch={'return f"{self.address(settings)}/files"': 'return f"{self.address(settings)}/v1/files"'},
        shows_in="requests[*].path",
    ),
    Mutant(
        defect="the address of the first upload is kept for all",
        file=_PROVIDERS,
        patch={
            '        return f"{self.address(settings)}/files"': (
                '        return _ADDRESSES.setdefault(self.name, f"{self.address(settings)}/files")'
            ),
            "# The registry.\n": "_ADDRESSES = {}\n",
        },
        shows_in="error.type",
    ),
    Mutant(
        defect="retries once too often",
        file=_SDK,
        patch={"    retries=2,\n": "    retries=3,\n"},
        shows_in="requests.count",
    ),
    Mutant(
        defect="retries once too few",
        file=_SDK,
        patch={"    retries=2,\n": "    retries=1,\n"},
        shows_in="requests.count",
    ),
    Mutant(
        defect="an error in an answer of success is ignored",
        file=_SDK,
        patch={"return file_id_of(body)": 'return str(body.get("id", ""))'},
        shows_in="error.type",
    ),
    Mutant(
        defect="wrong exception text: provider",
        file=_SDK,
        patch={'return f"Error code: {error.status}{suffix}"': 'return f"HTTP {error.status}{suffix}"'},
        shows_in="error.text",
    ),
)

STORAGE: Final = (
    Mutant(
        defect="wrong storage key: percent-encoded",
        file=_POOLED,
        patch={
            "return (await self._put(encode_key(path), action)).put_outcome()": (
                "return (await self._put(__import__('urllib.parse').parse.quote(path), action)).put_outcome()"
            )
        },
        shows_in="requests[*].path",
    ),
    Mutant(
        defect="upsert: objects are replaced",
        file=_POOLED,
        patch={'                "x-upsert": NO_UPSERT,\n': '                "x-upsert": "true",\n'},
        shows_in="requests[*].upsert",
    ),
    Mutant(
        defect="metadata without the sha256",
        file=_POOLED,
        patch={
            "description.metadata_json.encode()": (
                "__import__('json').dumps({'original_name': description.metadata['original_name'],"
                " 'file_type': description.metadata['file_type']}).encode()"
            )
        },
        shows_in="requests[*].metadata.sha256",
    ),
    Mutant(
        defect="no metadata",
        file=_POOLED,
        patch={'                "x-metadata": base64.b64encode(description.metadata_json.encode()).decode(),\n': ""},
        shows_in="requests[*].metadata",
    ),
    Mutant(
        defect="wrong cache control",
        file=_POOLED,
        patch={'f"max-age={CACHE_CONTROL}"': "CACHE_CONTROL"},
        shows_in="requests[*].cache_control",
    ),
    Mutant(
        defect="wrong content type of an object",
        file=_POOLED,
        patch={"content_type=description.content_type": 'content_type="application/octet-stream"'},
        shows_in="requests[*].content_type",
    ),
    Mutant(
        defect="the bucket is created public",
        file=_POOLED,
        patch={'"public": BUCKET_IS_PUBLIC': '"public": True'},
        shows_in="requests[*].body.public",
    ),
    Mutant(
        defect="the storage's key without its scheme",
        file=_POOLED,
        patch={'"Authorization": RedactedText(f"Bearer {target.key}")': '"Authorization": target.key'},
        shows_in="requests[*].credentials.authorization",
    ),
    Mutant(
        defect="a row is inserted, not replaced",
        file=_STORAGE,
        patch={
            "await row_query(client, row).execute()": (
                "await client.table('provider_file_uploads').insert("
                "{name: value for name, value in __import__('dataclasses').asdict(row).items() if value is not None}"
                ").execute()"
            )
        },
        shows_in="requests[*].headers.prefer",
    ),
    Mutant(
        defect="a header of the table's client is dropped",
        file=_POOLED,
        patch={
            '"accept-encoding", "transfer-encoding"})\n"""What aiohttp': (
                '"accept-encoding", "transfer-encoding", "prefer"})\n"""What aiohttp'
            )
        },
        shows_in="requests[*].headers.prefer",
    ),
    Mutant(
        defect="no look whether the object is there already",
        file=_POOLED,
        patch={
            'return (await ask(self._target, "GET", parts, action=action)).look_outcome()': (
                "return __import__('tools.storage.placement').storage.placement.Absent()"
            )
        },
        shows_in="requests.count",
    ),
)

PIECES: Final = (
    Mutant(
        defect="wrong offset of a piece",
        file=_POOLED,
        patch={"                    start=offset,\n": "                    start=0,\n"},
        shows_in="requests[*].sha256",
    ),
    Mutant(
        defect="the last byte of an object in pieces is lost",
        file=_POOLED,
        patch={
            'headers = {"Upload-Length": str(self._source.size), ': (
                'headers = {"Upload-Length": str(self._source.size - 1), '
            ),
            "            size=self._source.size,\n": "            size=self._source.size - 1,\n",
        },
        shows_in="requests[*].length",
    ),
    Mutant(
        defect="pieces of a size that Storage refuses",
        file=_RESUMABLE,
        patch={"PIECE_BYTES: Final = 6 * MEGABYTE": "PIECE_BYTES: Final = 5 * MEGABYTE"},
        shows_in="error.type",
    ),
    Mutant(
        defect="objects in pieces may replace",
        file=_POOLED,
        patch={'"1.0.0", "x-upsert": NO_UPSERT': '"1.0.0", "x-upsert": "true"'},
        shows_in="requests[*].upsert",
    ),
    Mutant(
        defect="objects in pieces have no content type",
        file=_POOLED,
        patch={'            "contentType": self._description.content_type,\n': ""},
        shows_in="requests[*].content_type",
    ),
    Mutant(
        defect="the id of an object in pieces is its key",
        file=_RESUMABLE,
        patch={'"Id": found.object_id': '"Id": key'},
        shows_in="result.supabase_file_id",
    ),
    Mutant(
        defect="off by one: a last piece of one byte is not sent",
        file=_RESUMABLE,
        patch={"    while offset < size:\n": "    while offset < size - 1:\n"},
        shows_in="requests[*].outcome",
    ),
)

MUTANTS: Final = PROVIDER + STORAGE + PIECES
