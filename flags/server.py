"""Flags on an Unleash server: polled within bounds, reported by Unleash's own client, changed through its Admin API."""

from __future__ import annotations

import contextlib
import json
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from UnleashClient.constants import FEATURES_URL

from flags.admin import (
    Flag,
    aimed_at,
    check_name,
    check_percentage,
    describe,
    governed_rollouts,
    new_rollout,
    with_reason,
    without_reason,
)
from flags.definitions import MAX_BYTES
from flags.errors import FlagDefinitionsError, FlagError, FlagNotFoundError, FlagServerError
from flags.http import (
    REPORTING_THREAD,
    HttpBounds,
    IncompleteAnswerError,
    ReportingSchedule,
    ask,
    reporting_client,
)
from flags.source import FlagSource, Freshness
from migration.rollout import Exposure
from migration.threads import BackgroundThread

POLL_SECONDS = 10.0
"""An answer to a poll must be complete so soon after it was asked for; a dripping one would stop the polling."""

ADMIN_BOUNDS = HttpBounds(timeout=5.0, seconds=30.0, max_bytes=16 * 1024 * 1024)
"""Of one request to the Admin API; an answer about thousands of flags has a tenth of these bytes."""

_log = logging.getLogger("flags")


def api_address(url: str) -> str:
    """The address of the server's API, whether or not `url` already names it."""
    return url.rstrip("/").removesuffix("/api") + "/api"


# Polling


class Poller:
    """Asks for the definitions; unless they have changed the server need not send them.

    The official client's own polling has no bound on the size of an answer, nor on the time that one may drip in, and
    APScheduler, which paces it, stops for an hour when the wall clock is set back by one.

    Args:
        address: of the server's API.
        headers: which introduce this client, the token among them.
        timeout: seconds that a connection or a read may take.
    """

    def __init__(self, address: str, headers: Mapping[str, str], *, timeout: float) -> None:
        self._address = address + FEATURES_URL
        self._headers = dict(headers)
        self._timeout = timeout
        self._etag: str | None = None
        self._offered: str | None = None

    def ask(self) -> str | None:
        """The definitions, or None if they are still those that were accepted last.

        Raises:
            FlagServerError: there was no usable answer within the bounds.
            FlagDefinitionsError: the answer is no text.
        """
        headers = self._headers if self._etag is None else {**self._headers, "If-None-Match": self._etag}
        bounds = HttpBounds(timeout=self._timeout, seconds=POLL_SECONDS, max_bytes=MAX_BYTES)
        try:
            answer = ask("GET", self._address, headers=headers, bounds=bounds)
        except IncompleteAnswerError as error:
            raise FlagServerError("deliver flags", error.problem) from error
        if answer.status == HTTPStatus.NOT_MODIFIED and self._etag is not None:
            return None
        if answer.status != HTTPStatus.OK:
            raise FlagServerError("deliver flags", f"status {answer.status}", status=answer.status)
        self._offered = answer.headers.get("ETag")
        try:
            return answer.content.decode()
        except UnicodeDecodeError as error:
            raise FlagDefinitionsError("not UTF-8 text") from error

    def accepted(self) -> None:
        """Take the last definitions as sound. Broken ones must be sent again, or a broken state would last."""
        self._etag = self._offered


# The source of a router


class FlagServerSource(FlagSource):
    """Polls a server. While it does not answer, the last definitions stay in force until they are too old.

    What was fetched is published as a snapshot, which evaluates it by itself and never changes, so that everything
    about one decision is of one state. It is as old as the question that brought it: however long the answer took, a
    flip after the question is not in it.
    """

    kind = "unleash"

    def __init__(
        self,
        url: str,
        token: str,
        *,
        app_name: str,
        refresh_seconds: float,
        request_timeout: float,
        freshness: Freshness,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(
            thread="flags-poll", interval=refresh_seconds, app_name=app_name, freshness=freshness, clock=clock
        )
        address = api_address(url)
        self._schedule = ReportingSchedule()
        self._client = reporting_client(
            address, token, app_name=app_name, timeout=request_timeout, schedule=self._schedule
        )
        self._reporting = BackgroundThread(self._report, name=REPORTING_THREAD)
        headers = self._client._headers.polling()  # noqa: SLF001 - how the official client introduces itself
        headers["unleash-interval"] = str(int(refresh_seconds * 1000))
        self._poller = Poller(address, headers, timeout=request_timeout)

    def follow(self, timeout: float) -> None:
        """Poll from now on, and report, each on a thread of its own: a hung server blocks both."""
        self._reporting.start()
        super().follow(timeout)

    def count(self, name: str, *, enabled: bool) -> None:
        """Count for the console, in the client that reports it."""
        # the client's own `is_enabled` would evaluate a second time, by definitions of another moment
        self._client._engine.count_toggle(name, enabled)  # noqa: SLF001

    def close(self, timeout: float) -> None:
        """Stop polling and send the last usage counts, on threads that are not waited for too long."""
        super().close(timeout / 2)
        self._reporting.join(timeout / 2)

    @property
    def failure(self) -> FlagError | None:
        """What went wrong last; silence counts as a failure after a while."""
        if self._failure is None and self.is_doubtful:
            return FlagServerError("deliver flags", "no answer")
        return self._failure

    def _report(self) -> None:
        """Register, and send usage counts from then on."""
        with contextlib.suppress(Exception):  # an address that cannot be used raises what it likes; polling says so
            self._client.initialize_client(fetch_toggles=False)
        while not self._stopping.wait(self._schedule.pause()):
            self._schedule.run_due()
        self._client.destroy()

    def _refresh(self) -> None:
        asked_at = self._clock()
        try:
            payload = self._poller.ask()
            if payload is not None:
                self._publish(self._read(payload))
                self._poller.accepted()
        except (FlagServerError, FlagDefinitionsError) as failure:
            self._fail(failure)
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread that asks must live on
            self._fail(FlagServerError("be asked for flags", type(error).__name__))
        else:
            self._confirm(asked_at)


# Changing flags


class UnleashFlagAdmin:
    """Changes the flags of one project in one environment of an Unleash server; implements `FlagAdmin`.

    Args:
        url: the server's address; `/api` is added unless it is there.
        token: an admin token.
        project: the project that new flags belong to.
        environment: the environment in which flags are turned on and off.
        bounds: of each request; `ADMIN_BOUNDS` by default.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        project: str = "default",
        environment: str = "development",
        bounds: HttpBounds | None = None,
    ) -> None:
        self._address = f"{api_address(url)}/admin"
        self._project = project
        self._environment = environment
        self._headers = {"Authorization": token}
        self._bounds = bounds or ADMIN_BOUNDS

    def list(self) -> Sequence[Flag]:
        """All flags of the project, by name; one request however many there are."""
        scope = {"project": self._project, "environment": self._environment}
        answer = self._ask("POST", "/features-batch/export", scope, action="list the flags")
        enabled = {state["featureName"]: state["enabled"] for state in answer.get("featureEnvironments", ())}
        strategies: defaultdict[str, Any] = defaultdict(list)
        for strategy in answer.get("featureStrategies", ()):
            strategies[strategy["featureName"]].append(strategy)
        return [
            describe(name, strategies[name], enabled=enabled.get(name, False), description=feature.get("description"))
            for name, feature in sorted((feature["name"], feature) for feature in answer.get("features", ()))
            if not feature.get("archived")
        ]

    def get(self, name: str) -> Flag:
        """One flag."""
        feature = self._feature(name)
        state = self._in_environment(feature)
        return describe(
            name,
            state.get("strategies") or (),
            enabled=bool(state.get("enabled")),
            description=feature.get("description"),
        )

    def ensure(self, name: str) -> Flag:
        """Create the flag, on with a rollout of 0 %, unless it exists.

        The rollout comes first: turning on a flag without one makes Unleash add a rollout of 100 %.
        """
        check_name(name)
        created = self._create(name)
        if not self._strategies(self._feature(name)):
            self._add_rollout(name)
        return self.turn_on(name) if created else self.get(name)

    def set_percentage(self, name: str, percentage: int) -> Flag:
        """Set the share of the flag's rollout, for everybody; what it sticks to stays."""
        return self.set_exposure(name, Exposure(check_percentage(percentage)))

    def set_exposure(self, name: str, exposure: Exposure) -> Flag:
        """Set who is in the flag's rollout, with one request, so that half of it is never in force."""
        share, constraints = aimed_at(exposure)
        change = [
            {"op": "replace", "path": "/parameters/rollout", "value": share},
            {"op": "replace", "path": "/constraints", "value": constraints},
        ]
        for rollout in governed_rollouts(name, self._strategies(self._feature(name))):
            path = f"{self._environment_path(name)}/strategies/{rollout['id']}"
            self._ask("PATCH", path, change, action=f"set the percentage of {name!r}")
        return self.get(name)

    def turn_off(self, name: str, reason: str) -> Flag:
        """Turn the flag off and note the reason in its description.

        The flag being off is what counts: a reason that cannot be noted is only logged.
        """
        self._switch(name, "off")
        self._describe(name, lambda description: with_reason(description, reason))
        flag = self.get(name)
        if flag.enabled:
            raise FlagServerError(f"turn off {name!r}", "the server said so, and it is still on")
        return flag

    def turn_on(self, name: str) -> Flag:
        """Turn the flag on, with the percentage it has; without any it starts at 0 %.

        Why it was off leaves its description; if that fails, it is only logged.
        """
        if not self._strategies(self._feature(name)):
            self._add_rollout(name)
        self._switch(name, "on")
        self._describe(name, without_reason)
        return self.get(name)

    def _describe(self, name: str, changed: Callable[[str | None], str]) -> None:
        """Change the description, if that changes anything."""
        try:
            before = self._feature(name).get("description")
            after = changed(before)
            if after != (before or ""):
                change = [{"op": "replace", "path": "/description", "value": after}]
                self._ask("PATCH", self._path(name), change, action=f"describe {name!r}")
        except FlagServerError as error:
            _log.warning("flag %s was changed, but its description was not: %s", name, error)

    def _create(self, name: str) -> bool:
        """Create the flag, off; False if it exists."""
        try:
            self._ask("POST", self._path(), {"name": name, "type": "release"}, action=f"create {name!r}")
        except FlagServerError as error:
            if error.status == HTTPStatus.CONFLICT:
                return False
            raise
        return True

    def _add_rollout(self, name: str) -> None:
        path = f"{self._environment_path(name)}/strategies"
        self._ask("POST", path, new_rollout(name), action=f"add a rollout to {name!r}")

    def _switch(self, name: str, state: str) -> None:
        check_name(name)
        self._ask("POST", f"{self._environment_path(name)}/{state}", action=f"turn {state} {name!r}", flag=name)

    def _feature(self, name: str) -> Mapping[str, Any]:
        check_name(name)
        return self._ask("GET", self._path(name), action=f"show {name!r}", flag=name)

    def _path(self, name: str = "") -> str:
        return f"/projects/{quote(self._project, safe='')}/features/{name}".rstrip("/")

    def _environment_path(self, name: str) -> str:
        return f"{self._path(name)}/environments/{quote(self._environment, safe='')}"

    def _strategies(self, feature: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
        return self._in_environment(feature).get("strategies") or ()

    def _in_environment(self, feature: Mapping[str, Any]) -> Mapping[str, Any]:
        for state in feature.get("environments") or ():
            if state.get("name") == self._environment:
                return dict(state)
        problem = f"the flag has no environment {self._environment!r}"
        raise FlagServerError(f"show {feature.get('name')!r}", problem)

    def _ask(self, method: str, path: str, body: Any = None, *, action: str, flag: str | None = None) -> dict[str, Any]:
        """Make one request and return the JSON object answered, empty if there is none.

        Raises:
            FlagNotFoundError: the answer is 404, and `flag` is the flag asked for.
            FlagServerError: no answer, or one that is no success.
        """
        try:
            answer = ask(method, self._address + path, headers=self._headers, json=body, bounds=self._bounds)
        except IncompleteAnswerError as error:
            raise FlagServerError(action, error.problem) from error
        if answer.status == HTTPStatus.NOT_FOUND and flag is not None:
            raise FlagNotFoundError(flag)
        if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            raise FlagServerError(action, f"status {answer.status}", status=answer.status)
        if not answer.content:
            return {}
        try:
            parsed = json.loads(answer.content)
        except (ValueError, RecursionError):
            raise FlagServerError(action, "the answer is not JSON", status=answer.status) from None
        return parsed if isinstance(parsed, dict) else {}
