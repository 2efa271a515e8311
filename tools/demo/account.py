"""Whether what callers were answered is what the providers hold."""

from __future__ import annotations

from collections.abc import Sequence

from tools.demo.load import Receipt
from tools.demo.results import Account
from tools.sandbox import PARSER_PURPOSE, RunningSandbox


def settle(sandbox: RunningSandbox, receipts: Sequence[Receipt]) -> Account:
    """Compare ids and digests, one by one. Uploads of one content at one moment have one file."""
    state = sandbox.state()
    held = {
        (provider, file["id"]): file["sha256"]
        for provider in ("kimi", "glm")
        for file in state[provider]["files"]
        if file["purpose"] != PARSER_PURPOSE  # given to be read for a question, not uploaded
    }
    answered = [receipt for receipt in receipts if receipt.file_id is not None]
    ids = {(receipt.job.provider, str(receipt.file_id)) for receipt in answered}
    lost = [
        str(receipt.file_id)
        for receipt in answered
        if held.get((receipt.job.provider, str(receipt.file_id))) != receipt.job.sample.sha256
    ]
    return Account(
        answered=len(answered),
        held=len(held),
        shared=len(answered) - len(ids),
        lost=tuple(lost),
        doubled=tuple(f"{provider} {file_id}" for provider, file_id in held if (provider, file_id) not in ids),
    )
