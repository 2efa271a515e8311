"""Whether what callers were answered is what the providers hold."""

from __future__ import annotations

from collections.abc import Sequence

from tools.demo.load import Receipt
from tools.demo.results import Account
from tools.sandbox import PARSER_PURPOSE, RunningSandbox


def settle(sandbox: RunningSandbox, receipts: Sequence[Receipt]) -> Account:
    """Compare ids and digests, one by one. An id that was answered twice makes one of the two uploads a lost one."""
    state = sandbox.state()
    held = {
        (provider, file["id"]): file["sha256"]
        for provider in ("kimi", "glm")
        for file in state[provider]["files"]
        if file["purpose"] != PARSER_PURPOSE  # given to be read for a question, not uploaded
    }
    unclaimed = dict(held)
    answered = [receipt for receipt in receipts if receipt.file_id is not None]
    lost = [
        str(receipt.file_id)
        for receipt in answered
        if unclaimed.pop((receipt.job.provider, receipt.file_id), None) != receipt.job.sample.sha256
    ]
    return Account(
        answered=len(answered),
        held=len(held),
        lost=tuple(lost),
        doubled=tuple(f"{provider} {file_id}" for provider, file_id in unclaimed),
    )
