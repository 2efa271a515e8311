"""Unleash's own engine, asked without the client around it.

The engine decides within 2 µs. `UnleashClient.is_enabled` takes 27: it fills in the context anew for each flag, crosses
the border to the engine six times and parses three answers. Here the context is written once a call, the border is
crossed twice a flag, and the answer is compared with the ones that there are. It is the same engine and it is given
the same words, which a test proves.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from yggdrasil_engine.engine import UnleashEngine  # type: ignore[import-untyped]  # ships no types

from flags.errors import FlagEvaluationError

Context: TypeAlias = Mapping[str, Any]
"""What is known of a call, in Unleash's words (https://docs.getunleash.io/reference/unleash-context)."""

_PROPERTIES: Final = "properties"
_FIELDS: Final = frozenset({"userId", "sessionId", "environment", "appName", "currentTime", "remoteAddress"})
_ENVIRONMENT: Final = "default"  # as the client says when nobody tells it; the server's token chooses the real one
_to_json: Final = json.JSONEncoder().encode
_NO_CUSTOM_STRATEGIES: Final = b"{}"
_ANSWERS: Final = {
    b'{"status_code":"Ok","value":true,"error_message":null}': True,
    b'{"status_code":"Ok","value":false,"error_message":null}': False,
}


class Engine:
    """One state of all flags, which never changes.

    Args:
        payload: what Unleash's client API answers.
        app_name: the `appName` that constraints see.
    """

    def __init__(self, payload: str, *, app_name: str) -> None:
        self._engine = UnleashEngine()
        self._static = {"appName": app_name, "environment": _ENVIRONMENT}
        # Calls that keep the GIL: giving it up for 2 µs can cost a thread 5 ms among others that want it. Nobody ever
        # waits inside, because no state is loaded into this engine while it is asked.
        library = ctypes.PyDLL(self._engine.lib._name, handle=self._engine.lib._handle)  # noqa: SLF001  # documented
        self._check, self._free = library.check_enabled, library.free_response
        self._check.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p]
        self._check.restype = ctypes.c_void_p
        self._free.argtypes, self._free.restype = [ctypes.c_void_p], None
        self._free(ctypes.cast(self._engine.lib.take_state(self._engine.state, payload.encode()), ctypes.c_void_p))

    def names(self) -> set[str]:
        """The flags that the engine has taken; it drops a payload with a malformed flag without a word."""
        return {flag.name for flag in self._engine.list_known_toggles()}

    def write(self, context: Context) -> bytes:
        """The context as the engine reads it: text only, and fields that Unleash does not know among the properties."""
        fields: dict[str, object] = dict(self._static)
        properties = {name: str(value) for name, value in context.get(_PROPERTIES, {}).items()}
        for name, value in context.items():
            if name in _FIELDS:
                fields[name] = str(value)
            elif name != _PROPERTIES:
                properties[name] = str(value)
        fields[_PROPERTIES] = properties
        return _to_json(fields).encode()

    def is_enabled(self, name: bytes, written: bytes) -> bool:
        """Whether a flag is on for a context that `write` has written.

        Raises:
            FlagEvaluationError: the engine cannot say.
        """
        address = self._check(self._engine.state, name, written, _NO_CUSTOM_STRATEGIES)
        answer = ctypes.string_at(address)
        self._free(address)
        try:
            return _ANSWERS[answer]
        except KeyError:
            raise FlagEvaluationError(name.decode(), str(json.loads(answer).get("status_code"))) from None
