"""Every fault switch, observed through the vendors' own clients."""

from __future__ import annotations

import time
from random import Random

import httpx
import openai
import pytest
from openai import OpenAI
from storage3.exceptions import StorageApiError
from supabase import Client
from zai import ZaiClient
from zai.core import APIInternalError, APIReachLimitError

from tests.tools.sandbox.conftest import BUCKET
from tools.sandbox import Fault, FaultKind, InvalidFaultError, RunningSandbox, SandboxControlError
from tools.sandbox.faults import FaultBoard

KIMI, GLM, SUPABASE = "kimi", "glm", "supabase"
CREATE = "files.create"


def _upload(kimi: OpenAI, content: bytes = b"text") -> str:
    return kimi.files.create(file=("a.txt", content), purpose="file-extract").id  # type: ignore[arg-type]  # Kimi has own purposes


def _glm_upload(glm: ZaiClient) -> object:
    return glm.files.create(file=("a.txt", b"text"), purpose="agent")  # type: ignore[arg-type]  # newer purposes


@pytest.mark.parametrize(
    ("kind", "error_type", "words"),
    [
        (FaultKind.RATE_LIMITED, "rate_limit_reached_error", "try again after 7 seconds"),
        (FaultKind.OVERLOADED, "engine_overloaded_error", "currently overloaded"),
        (FaultKind.QUOTA_EXCEEDED, "exceeded_current_quota_error", "quota"),
    ],
)
def test_kimi_429(kimi: OpenAI, sandbox: RunningSandbox, kind: FaultKind, error_type: str, words: str) -> None:
    """Each 429 has its type, and Retry-After when asked for; nothing is stored."""
    sandbox.inject(kind, KIMI, CREATE, retry_after=7)
    with pytest.raises(openai.RateLimitError, match=words) as refused:
        _upload(kimi)
    assert refused.value.type == error_type
    assert (refused.value.response.headers["retry-after"], refused.value.response.headers["x-retry-after"]) == (
        "7",
        "7",
    )
    assert sandbox.state()["kimi"]["files"] == []


def test_retry_after_can_be_missing(kimi: OpenAI, sandbox: RunningSandbox) -> None:
    """Without a value no Retry-After is sent."""
    sandbox.inject(FaultKind.RATE_LIMITED, KIMI, CREATE)
    with pytest.raises(openai.RateLimitError) as refused:
        _upload(kimi)
    assert "retry-after" not in refused.value.response.headers


@pytest.mark.parametrize(
    ("kind", "code"),
    [(FaultKind.RATE_LIMITED, "1303"), (FaultKind.OVERLOADED, "1302"), (FaultKind.QUOTA_EXCEEDED, "1113")],
)
def test_glm_429(glm: ZaiClient, sandbox: RunningSandbox, kind: FaultKind, code: str) -> None:
    """Frequency, concurrency and an empty account are told apart by the code alone."""
    sandbox.inject(kind, GLM, CREATE)
    with pytest.raises(APIReachLimitError, match=f'"code": "{code}"'):
        _glm_upload(glm)


def test_glm_error_inside_a_success(sandbox: RunningSandbox, http: httpx.Client) -> None:
    """An overload can come as HTTP 200 with error 1305 in the body."""
    sandbox.inject(FaultKind.ERROR_IN_SUCCESS, GLM, CREATE)
    answer = http.post(
        f"{sandbox.urls['glm']}/files",
        data={"purpose": "agent"},
        files={"file": ("a.txt", b"text")},
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (200, "1305")
    assert sandbox.state()["glm"]["files"] == []


def test_server_errors(kimi: OpenAI, glm: ZaiClient, supabase: Client, sandbox: RunningSandbox) -> None:
    """A 5xx in JSON reaches the clients of all services, with the status asked for."""
    sandbox.inject(FaultKind.SERVER_ERROR, KIMI, CREATE, status=503)
    sandbox.inject(FaultKind.SERVER_ERROR, GLM, CREATE)
    sandbox.inject(FaultKind.SERVER_ERROR, SUPABASE, "object.upload", status=544)
    with pytest.raises(openai.InternalServerError, match="Failed to extract file") as kimi_error:
        _upload(kimi)
    with pytest.raises(APIInternalError):
        _glm_upload(glm)
    with pytest.raises(StorageApiError) as storage_error:
        supabase.storage.from_(BUCKET).upload("a.txt", b"text")
    assert kimi_error.value.status_code == 503
    assert (storage_error.value.status, storage_error.value.code) == ("544", "DatabaseTimeout")


def test_storage_asks_to_slow_down(supabase: Client, sandbox: RunningSandbox) -> None:
    """An overloaded storage answers 503 SlowDown, true status outside too."""
    sandbox.inject(FaultKind.OVERLOADED, SUPABASE, "object.upload")
    with pytest.raises(StorageApiError) as refused:
        supabase.storage.from_(BUCKET).upload("a.txt", b"text")
    assert (refused.value.status, refused.value.code) == ("503", "SlowDown")


def test_gateway_timeout_is_a_page(kimi: OpenAI, sandbox: RunningSandbox) -> None:
    """The 504 of a gateway is HTML, not JSON."""
    sandbox.inject(FaultKind.GATEWAY_TIMEOUT, KIMI, CREATE)
    with pytest.raises(openai.InternalServerError) as refused:
        _upload(kimi)
    assert refused.value.status_code == 504
    assert refused.value.response.headers["content-type"].startswith("text/html")
    assert "<html>" in refused.value.response.text


def test_latency_delays_the_answer_not_the_deed(kimi: OpenAI, sandbox: RunningSandbox) -> None:
    """A client that gives up waiting left a file behind."""
    sandbox.inject(FaultKind.LATENCY, KIMI, CREATE, seconds=3600)
    with pytest.raises(openai.APITimeoutError):
        _upload(kimi.with_options(timeout=0.3))
    assert len(sandbox.state()["kimi"]["files"]) == 1


def test_latency_passes(kimi: OpenAI, sandbox: RunningSandbox) -> None:
    """A client that waits gets its answer after that time."""
    sandbox.inject(FaultKind.LATENCY, KIMI, CREATE, seconds=0.2)
    begun = time.monotonic()
    _upload(kimi)
    assert time.monotonic() - begun >= 0.2


def test_hanging_request_does_nothing(kimi: OpenAI, sandbox: RunningSandbox) -> None:
    """A request that hangs is received, logged and neither carried out nor answered."""
    sandbox.inject(FaultKind.HANG, KIMI, CREATE)
    with pytest.raises(openai.APITimeoutError):
        _upload(kimi.with_options(timeout=0.3))
    assert sandbox.state()["kimi"]["files"] == []
    (request,) = sandbox.requests("kimi", CREATE)
    assert (request["status"], request["faults"]) == (None, ["hang"])


def test_connection_dropped_after_the_deed_makes_two_files(kimi: OpenAI, sandbox: RunningSandbox) -> None:
    """A client that blindly sends again after a lost answer creates the file twice."""
    sandbox.inject(FaultKind.DROP_AFTER_COMMIT, KIMI, CREATE)
    _upload(kimi.with_options(max_retries=1))
    files = sandbox.state()["kimi"]["files"]
    assert len(files) == 2
    assert len({file["sha256"] for file in files}) == 1
    assert [request["ended"] for request in sandbox.requests("kimi", CREATE)] == ["dropped", "answered"]


@pytest.mark.parametrize("service", [KIMI, GLM])
def test_reset_mid_body_stores_nothing(sandbox: RunningSandbox, http: httpx.Client, service: str) -> None:
    """A connection reset while the body arrives leaves neither file nor body behind."""
    sandbox.inject(FaultKind.RESET_MID_BODY, service, CREATE)
    url = {KIMI: sandbox.urls["kimi"], GLM: sandbox.urls["glm"]}[service]
    with pytest.raises(httpx.TransportError):
        http.post(
            f"{url}/files",
            files={"file": ("a.txt", b"x" * 20_000_000)},
        )
    (request,) = sandbox.requests(service)
    assert (request["ended"], request["body_bytes"]) == ("reset", 64 * 1024)
    assert sandbox.state()[service]["files"] == []
    assert list((sandbox.home / "bodies").iterdir()) == []


def test_switch_is_used_up(kimi: OpenAI, sandbox: RunningSandbox) -> None:
    """A switch hits as many requests as it says, of the operation it names, and no more."""
    sandbox.inject(FaultKind.SERVER_ERROR, KIMI, CREATE, times=2)
    kimi.files.list()
    for left in (1, 0):
        with pytest.raises(openai.InternalServerError):
            _upload(kimi)
        assert [fault["times"] for fault in sandbox.faults()] == ([left] if left else [])
    _upload(kimi)


def test_switches_combine(kimi: OpenAI, sandbox: RunningSandbox) -> None:
    """One request can be late and refused; a second refusal waits for the next request."""
    sandbox.set_faults(
        [
            Fault(kind=FaultKind.RATE_LIMITED, service=KIMI),
            Fault(kind=FaultKind.OVERLOADED, service=KIMI),
            Fault(kind=FaultKind.LATENCY, service=KIMI, seconds=0.01),
        ]
    )
    types = []
    for _ in range(2):
        with pytest.raises(openai.RateLimitError) as refused:
            kimi.files.list()
        types.append(refused.value.type)
    assert types == ["rate_limit_reached_error", "engine_overloaded_error"]
    assert sandbox.requests("kimi")[0]["faults"] == ["rate_limited", "latency"]


def test_chance_is_as_stated() -> None:
    """A switch with a probability hits that share of the requests."""
    board = FaultBoard(Random(7))
    board.add(Fault(kind=FaultKind.SERVER_ERROR, service=KIMI, times=None, probability=0.25))
    hits = sum(board.draw(KIMI, CREATE).refusal is not None for _ in range(4000))
    assert 900 < hits < 1100
    assert board.draw(GLM, CREATE).refusal is None


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "nonsense", "service": "kimi"},
        {"kind": "hang"},
        {"kind": "hang", "service": "kimi", "colour": "red"},
        {"kind": "hang", "service": "kimi", "times": 0},
        {"kind": "hang", "service": "kimi", "times": "many"},
        {"kind": "hang", "service": "kimi", "probability": 2},
        {"kind": "latency", "service": "kimi", "seconds": -1},
        {"kind": "server_error", "service": "kimi", "status": 200},
        {"kind": "error_in_success", "service": "kimi"},
        {"kind": "content_as_text", "service": "glm"},
        {"kind": "quota_exceeded", "service": "supabase"},
        "hang",
    ],
)
def test_meaningless_switches_are_refused(sandbox: RunningSandbox, http: httpx.Client, fault: object) -> None:
    """A switch that means nothing is an error, in Python and over HTTP, and changes nothing."""
    with pytest.raises(InvalidFaultError):
        Fault.from_json(fault)
    answer = http.put(f"{sandbox.control_url}/faults", json=[fault])
    assert answer.status_code == 400
    assert sandbox.faults() == []


def test_control_says_what_it_refuses(sandbox: RunningSandbox) -> None:
    """The control client turns a refusal into a typed error with the server's words."""
    with pytest.raises(SandboxControlError, match="kimi_max_colour is no limit"):
        sandbox.set_limits(kimi_max_colour=1)
    with pytest.raises(SandboxControlError, match="0 of 1 requests came"):
        sandbox.wait_for_requests("kimi", CREATE, seconds=0.01)
