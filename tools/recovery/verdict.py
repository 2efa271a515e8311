"""What follows from what is seen of an unfinished upload. No input, no output."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tools.engine.listing import listed_name
from tools.journal.port import Entry, Intent, State
from tools.recovery.finding import Step, Verdict
from tools.recovery.provider_files import Described, Listing

SLACK_SECONDS = 5.0
"""Listings show whole seconds, and a provider's machines need not agree to the second."""

LATE_SECONDS = 3600.0
"""For how long after the last word of an upload a file of its may appear: the SDKs send again for half an hour at most,
and a request may outlive its sender."""

REPEATED_SECONDS = 86_400.0
"""For how long after its beginning an upload is repeated; by then who began it has found another way."""

MOST_ATTEMPTS = 4
"""How often the vendors' SDKs send one file at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is there of an upload.

    Attributes:
        files: ids of the files at the provider that may be its, oldest first; None: the provider does not list them.
        answered_there: whether the file is there that the upload was answered with, if it was.
        told: whether a caller has been given that file.
        tracked: the file of the same content that another upload made, and the provider has.
        source: whether the file to be uploaded is where it was, with the same content.
        rivals: whether an upload that looks the same is under way.
        mixed: whether an unfinished upload of another content looks the same, so that `files` may be either's.
        may_have_made: how many of `files` the unfinished uploads that look the same can have made at most.
    """

    files: tuple[str, ...] | None
    answered_there: bool = False
    told: bool = False
    tracked: str | None = None
    source: bool = False
    rivals: bool = False
    mixed: bool = False
    may_have_made: int = 1


def judge(entry: Entry, seen: Seen, *, age: float) -> Verdict:
    """What is to be done about an upload that began `age` seconds ago."""
    if seen.files is None:
        return _without_listing(entry)
    if seen.rivals:
        return Verdict(step=Step.WAIT, reason="an upload that looks the same is under way")
    answered = entry.facts.provider_file_id if seen.answered_there else None
    others = tuple(file_id for file_id in seen.files if file_id != answered)
    if len(others) + (answered is not None) > seen.may_have_made:
        return _too_many_to_be_its(answered, len(others))
    if answered is not None and (seen.told or seen.tracked in {None, answered}):
        return _adopted("the provider has its file", answered, () if seen.mixed else others)
    return _nobody_was_told(seen, others if answered is None else (answered, *others), age=age)


def _nobody_was_told(seen: Seen, own: tuple[str, ...], *, age: float) -> Verdict:
    """No caller waits for one of these files, so each may be the one that stays."""
    if seen.tracked is not None:
        reason = _with_surplus("another upload has brought the same content there", own)
        return Verdict(step=Step.CLEAN_UP, reason=reason, remove=own)
    if own and not seen.mixed:
        return _adopted("a file is there that it has made", own[0], own[1:])
    return _to_be_made(seen, remove=own, age=age)


def _without_listing(entry: Entry) -> Verdict:
    """Where nothing can be looked up, only an answer tells."""
    facts = entry.facts
    if facts.provider_file_id is not None and facts.attempts == 1:
        return _adopted("it was answered, after one attempt", facts.provider_file_id, ())
    return Verdict(step=Step.UNKNOWN, reason="the provider does not list its files")


def _too_many_to_be_its(answered: str | None, others: int) -> Verdict:
    """Some are somebody else's, and nobody can say which."""
    reason = f"{others} files look like it, more than it can have made; they are left alone"
    if answered is None:
        return Verdict(step=Step.UNKNOWN, reason=reason)
    return _adopted(f"the provider has its file; {reason}", answered, ())


def _adopted(reason: str, keep: str, surplus: tuple[str, ...]) -> Verdict:
    return Verdict(step=Step.ADOPT, reason=_with_surplus(reason, surplus), keep=keep, remove=surplus)


def _to_be_made(seen: Seen, *, remove: tuple[str, ...], age: float) -> Verdict:
    """The provider has no file that could be used."""
    lacking = "its file cannot be told from another upload's" if remove else "the provider does not have it"
    if seen.source and age <= REPEATED_SECONDS:
        reason = f"{lacking}, and the file to be uploaded is as it was"
        return Verdict(step=Step.REPEAT, reason=reason, remove=remove, nothing_found=not remove)
    why = "it began too long ago" if seen.source else "the file to be uploaded is gone or has changed"
    return Verdict(step=Step.CLEAN_UP, reason=f"{lacking}, and {why}", remove=remove, nothing_found=not remove)


def _with_surplus(reason: str, surplus: Collection[str]) -> str:
    return f"{reason} ({len(surplus)} too many)" if surplus else reason


def look_the_same(one: Intent, other: Intent) -> bool:
    """Whether a provider's listing cannot tell what two uploads have made."""
    return _likeness(one) == _likeness(other)


def may_have_made(entries: Sequence[Entry]) -> int:
    """How many files these unfinished uploads can have made together."""
    return sum(map(_attempts, entries))


def candidates(entry: Entry, listing: Listing, *, now: float) -> tuple[str, ...]:
    """Ids of the listed files that an upload may have made, by name, size, purpose and time; oldest first."""
    lag = listing.taken_at - now  # of our clock behind the provider's
    since = entry.intent.began_at + lag - SLACK_SECONDS
    until = (entry.finished_at or entry.updated_at) + lag + LATE_SECONDS
    alike = [file for file in listing.files if _shown(file) == _likeness(entry.intent)[2:]]
    return tuple(
        str(file["id"])
        for file in sorted(alike, key=lambda file: float(file["created_at"]))
        if since <= float(file["created_at"]) <= until
    )


def can_be_read(listing: Listing) -> bool:
    """Whether every file shows what it is recognised by: one that does not might be the one that is looked for."""
    return all(
        isinstance(file.get("created_at"), int | float)
        and isinstance(file.get("bytes"), int)
        and isinstance(file.get("filename"), str)
        and isinstance(file.get("purpose"), str)
        for file in listing.files
    )


def _attempts(entry: Entry) -> int:
    """How often it sent the file; an upload that was cut off while it did so has not written that down."""
    if entry.facts.attempts is None:
        return 1 if entry.state in {State.INTENDED, State.STORED} else MOST_ATTEMPTS
    return max(1, entry.facts.attempts)


def _likeness(intent: Intent) -> tuple[object, ...]:
    return intent.provider, intent.account, intent.purpose, intent.size, listed_name(intent.filename)


def _shown(file: Described) -> tuple[object, ...]:
    """As the last three of `_likeness`."""
    return file["purpose"], file["bytes"], listed_name(str(file["filename"]))
