"""Defects in the entrances: the gateway's steps, the batch, the results and the errors that callers get."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_FACE = "tools/async_file_upload_refactored.py"
_GATEWAY = "tools/engine/gateway.py"
_BATCH = "tools/engine/batch.py"

_STORE = "        copy = await self.store()\n        if"
_SEND = "        sent = await self.send()\n"
_RECORD = "        recorded = await self.record(copy, sent)\n"
_RESULT = "    return provider.result(source, provider_file_id=sent, supabase_file_id=copy)\n"
_IDS = "provider_file_id=sent, supabase_file_id=copy"
_ROW = f"        row = self.provider.row(self.source, {_IDS}, sha256=self.source.sha256)\n"
_STORAGE_FAILED = (
    "        except Exception as error:\n            raise storage_failure(error) from error\n\n    async def send"
)
_PROVIDER_FAILED = "            raise provider.failure(provider.sdk.error_message(error)) from error\n"
_UNRECORDED = "            logger.exception(self.provider.unrecorded(sent))\n"


def _row(field: str, value: str) -> dict[str, str]:
    changed = f"        import dataclasses\n        row = dataclasses.replace(row, {field}={value})\n"
    return {_ROW: _ROW + changed}


STEPS: Final = (
    Mutant(
        defect="wrong purpose: a default copied from the other provider",
        file=_FACE,
        patch={'purpose: str = "agent"': 'purpose: str = "file-extract"'},
        shows_in="requests[*].parts[*].value",
    ),
    Mutant(
        defect="wrong purpose: the tool's default is ignored",
        file=_FACE,
        patch={
            "upload_files(GLM, files, await _storage_of(tool), purpose or tool.default_purpose)": (
                'upload_files(GLM, files, await _storage_of(tool), purpose or "file-extract")'
            )
        },
        shows_in="requests[*].parts[*].value",
    ),
    Mutant(
        defect="missing row",
        file=_GATEWAY,
        patch={_RECORD: "        recorded = True\n"},
        shows_in="requests.count",
    ),
    Mutant(
        defect="row before upload",
        file=_GATEWAY,
        patch={
            _SEND: "        await self.record('pending', 'pending')\n" + _SEND,
            _RECORD: "        recorded = True\n",
        },
        shows_in="requests[*].service",
    ),
    Mutant(
        defect="provider before storage",
        file=_GATEWAY,
        patch={
            _STORE: _SEND.replace("sent =", "early =") + _STORE,
            _SEND: "        sent = early\n",
        },
        shows_in="requests[*].service",
    ),
    Mutant(
        defect="double upload to the provider",
        file=_GATEWAY,
        patch={_SEND: _SEND + _SEND},
        shows_in="requests.count",
    ),
    Mutant(
        defect="double upload to the storage",
        file=_GATEWAY,
        patch={_STORE: _STORE.removesuffix("        if") + _STORE},
        shows_in="requests.count",
    ),
    Mutant(
        defect="row written twice",
        file=_GATEWAY,
        patch={_RECORD: _RECORD + _RECORD},
        shows_in="requests.count",
    ),
    Mutant(
        defect="swapped ids",
        file=_GATEWAY,
        patch={
            _RESULT: _RESULT.replace(_IDS, "provider_file_id=copy, supabase_file_id=sent"),
            _ROW: _ROW.replace(_IDS, "provider_file_id=copy, supabase_file_id=sent"),
        },
        shows_in="result.supabase_file_id",
    ),
    Mutant(
        defect="wrong row: size counted in characters of the name",
        file=_GATEWAY,
        patch=_row("file_size_bytes", "len(self.source.name)"),
        shows_in="requests[*].body.file_size_bytes",
    ),
    Mutant(
        defect="wrong row: status",
        file=_GATEWAY,
        patch=_row("upload_status", '"pending"'),
        shows_in="requests[*].body.upload_status",
    ),
    Mutant(
        defect="wrong row: method",
        file=_GATEWAY,
        patch=_row("upload_method", '"async_gateway"'),
        shows_in="requests[*].body.upload_method",
    ),
    Mutant(
        defect="wrong row: sha256 in capitals",
        file=_GATEWAY,
        patch=_row("sha256", "row.sha256.upper()"),
        shows_in="requests[*].body.sha256",
    ),
    Mutant(
        defect="wrong row: an own time in last_used",
        file=_GATEWAY,
        patch=_row("last_used", '"2024-01-01T00:00:00"'),
        shows_in="requests[*].body.last_used",
    ),
)

RESULTS: Final = (
    Mutant(
        defect="result with a changed type: the size as text",
        file=_GATEWAY,
        patch={
            _RESULT: _RESULT.replace("return ", "result = ") + '    return {**result, "size_bytes": str(source.size)}\n'
        },
        shows_in="result.size_bytes",
    ),
    Mutant(
        defect="result with an additional key",
        file=_GATEWAY,
        patch={_RESULT: _RESULT.replace("return ", "result = ") + '    return {**result, "sha256": source.sha256}\n'},
        shows_in="result.sha256",
    ),
    Mutant(
        defect="the tool's short result lacks a key",
        file=_FACE,
        patch={'("file_id", "filename", "deduplicated")': '("file_id", "filename")'},
        shows_in="result.deduplicated",
    ),
    Mutant(
        defect="wrong order of a batch's results",
        file=_BATCH,
        patch={"return [item.entry for item in items if": "return [item.entry for item in reversed(items) if"},
        shows_in="result.value[*].filename",
    ),
    Mutant(
        defect="a batch goes on after a file that cannot be uploaded",
        file=_BATCH,
        patch={
            "            return items, refusal\n": "            first = refusal\n            continue\n",
            "    items: list[_Item] = []\n    for": "    items: list[_Item] = []\n    first = None\n    for",
            "    return items, None\n": "    return items, first\n",
        },
        shows_in="requests.count",
    ),
    Mutant(
        defect="a batch goes on after an upload that failed",
        file=_BATCH,
        patch={"                    self.failed = True\n": ""},
        shows_in="requests.count",
    ),
    Mutant(
        defect="stale dedup: a file of the same name is taken for known",
        file=_BATCH,
        patch={
            "        known = await self._known_upload(item.sha256)\n": (
                "        known = _KNOWN.get(item.name) or await self._known_upload(item.sha256)\n"
            ),
            "            file_id = result[self.provider.id_key]\n": (
                "            file_id = result[self.provider.id_key]\n"
                "            _KNOWN[item.name] = UploadRow(provider='kimi', provider_file_id=file_id, sha256='',\n"
                "                supabase_file_id=None, filename='', file_size_bytes=0, upload_status='completed',\n"
                "                upload_method='')\n"
            ),
            "logger = logging.getLogger(__name__)\n": "logger = logging.getLogger(__name__)\n_KNOWN = {}\n",
        },
        shows_in="requests.count",
    ),
    Mutant(
        defect="no dedup: every file is uploaded",
        file=_BATCH,
        patch={"known = await self._known_upload(item.sha256)": "known = None"},
        shows_in="requests.count",
    ),
    Mutant(
        defect="dedup among both providers' files",
        file=_BATCH,
        patch={
            "self.storage.find_upload_async(sha256=sha256, provider=self.provider.name)": (
                'self.storage.find_upload_async(sha256=sha256, provider="kimi")'
            )
        },
        shows_in="requests[*].query.provider",
    ),
)

ERRORS: Final = (
    Mutant(
        defect="wrong exception text: storage",
        file=_GATEWAY,
        patch={_STORAGE_FAILED: _STORAGE_FAILED.replace("storage_failure(error)", 'RuntimeError("Upload failed")')},
        shows_in="error.text",
    ),
    Mutant(
        defect="wrong exception type: provider",
        file=_GATEWAY,
        patch={_PROVIDER_FAILED: "            raise ConnectionError(provider.sdk.error_message(error)) from error\n"},
        shows_in="error.type",
    ),
    Mutant(
        defect="wrong exception type: a file that is missing",
        file=_GATEWAY,
        patch={
            "    except FileChangedError as error:\n        raise storage_failure": (
                "    except ValueError as error:\n        raise FileNotFoundError(str(error)) from error\n"
                "    except FileChangedError as error:\n        raise storage_failure"
            )
        },
        shows_in="error.type",
    ),
    Mutant(
        defect="swallowed error: storage",
        file=_GATEWAY,
        patch={_STORAGE_FAILED: "        except Exception:\n            return ''\n\n    async def send"},
        shows_in="error.text",
    ),
    Mutant(
        defect="swallowed error: provider",
        file=_GATEWAY,
        patch={_PROVIDER_FAILED: "            return ''\n"},
        shows_in="error.type",
    ),
    Mutant(
        defect="a row that cannot be written fails the upload",
        file=_GATEWAY,
        patch={_UNRECORDED: _UNRECORDED + "            raise\n"},
        shows_in="error.type",
    ),
    Mutant(
        defect="off by one at the size limit",
        file=_GATEWAY,
        patch={"limit=provider.limit(get_settings())": "limit=provider.limit(get_settings()) + 1"},
        shows_in="requests.count",
    ),
)

MUTANTS: Final = STEPS + RESULTS + ERRORS
