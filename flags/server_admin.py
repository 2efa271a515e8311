"""Flags on an Unleash server, changed through its Admin API.

HTTP is done with `requests`: Unleash's own Python client already brings it, and these few calls need no pool.
"""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import requests
from urllib3.exceptions import HTTPError

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
from flags.errors import FlagNotFoundError, FlagServerError
from flags.server import api_address
from migration.rollout import Exposure

MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""A longer answer is not read; one about thousands of flags has a tenth of that."""

ANSWER_SECONDS = 30.0
"""An answer must be complete so soon after its head."""

_PIECE_BYTES = 64 * 1024

_log = logging.getLogger("flags")


class UnleashFlagAdmin:
    """Changes the flags of one project in one environment of an Unleash server; implements `FlagAdmin`.

    Args:
        url: the server's address; `/api` is added unless it is there.
        token: an admin token.
        project: the project that new flags belong to.
        environment: the environment in which flags are turned on and off.
        timeout: seconds that a connection or a read may take.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        project: str = "default",
        environment: str = "development",
        timeout: float = 5.0,
    ) -> None:
        self._address = f"{api_address(url)}/admin"
        self._project = project
        self._environment = environment
        self._headers = {"Authorization": token}
        self._timeout = timeout

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
        """Set who is in the flag's rollout, with one request, so that nobody ever sees half of it."""
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
            with requests.request(
                method,
                self._address + path,
                json=body,
                headers=self._headers,
                timeout=self._timeout,
                auth=_keep_headers,
                allow_redirects=False,
                stream=True,
            ) as answer:
                content = _content(answer, action) if answer.ok else b""
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            raise FlagServerError(action, f"no answer ({type(error).__name__})") from None
        if answer.status_code == HTTPStatus.NOT_FOUND and flag is not None:
            raise FlagNotFoundError(flag)
        if not answer.ok or answer.is_redirect:
            raise FlagServerError(action, f"status {answer.status_code}", status=answer.status_code)
        if not content:
            return {}
        try:
            parsed = json.loads(content)
        except (ValueError, RecursionError):
            raise FlagServerError(action, "the answer is not JSON", status=answer.status_code) from None
        return parsed if isinstance(parsed, dict) else {}


def _content(answer: requests.Response, action: str) -> bytes:
    until = time.monotonic() + ANSWER_SECONDS
    content = bytearray()
    while piece := answer.raw.read1(_PIECE_BYTES, decode_content=True):
        content += piece
        if len(content) > MAX_ANSWER_BYTES:
            raise FlagServerError(action, f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
        if time.monotonic() > until:
            raise FlagServerError(action, f"the answer was not complete within {ANSWER_SECONDS:g} s")
    return bytes(content)


def _keep_headers(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Without an `auth` of its own, requests would replace the token by what `~/.netrc` says for this host."""
    return request
