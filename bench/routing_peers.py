"""The peers of a routed call: LaunchDarkly's Migrator and laboratory, with the same telemetry around them.

Flags are evaluated from memory, the call is a span, its duration is recorded inside it, the function does nothing.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from bench.harness import Job, Work
from bench.routing_own import (
    CALL,
    CALL_ATTRIBUTES,
    RUN_ATTRIBUTES,
    SPAN_ATTRIBUTES,
    calls_of,
    definitions,
    discarded_telemetry,
    duration_of,
    names_of,
    offline_client,
    tracer_of,
)
from flags import SHADOW_SUFFIX

_STAGES = ("off", "dualwrite", "shadow", "live", "rampdown", "complete")
"""The variations that a flag of a migration has there."""


@contextmanager
def launchdarkly(job: Job) -> Iterator[Work]:
    """Its Migrator with its tracing hook; flags are its test data, latencies and errors are tracked as by default.

    The hook notes the evaluation as an event on the span of the call; with `spans`, it also makes a span of it.
    """
    # by name, because they are installed in the benchmark's environment only
    sdk, migrations, tracing = (import_module(name) for name in ("ldclient", "ldclient.migrations", "ldotel.tracing"))
    test_data = import_module("ldclient.integrations.test_data")

    def do_nothing(_payload: object) -> object:
        return sdk.Result.success(None)

    with discarded_telemetry() as handle:
        source = test_data.TestData.data_source()
        for name in names_of(job):
            source.update(source.flag(name).variations(*_STAGES).variation_for_all(0))
        hook = tracing.Hook(tracing.HookOptions(add_spans=job.options.get("spans", False)))
        client = sdk.LDClient(sdk.Config("sdk-key", update_processor_class=source, send_events=False, hooks=[hook]))
        migrator = migrations.MigratorBuilder(client).read(do_nothing, do_nothing).write(do_nothing, do_nothing).build()
        tracer, duration, turn = tracer_of(handle), duration_of(handle), itertools.cycle(names_of(job))

        def call() -> None:
            began = time.perf_counter()
            with tracer.start_as_current_span(CALL, attributes=CALL_ATTRIBUTES):
                migrator.write(next(turn), sdk.Context.create(os.urandom(16).hex()), migrations.Stage.OFF)
                duration.record(time.perf_counter() - began, RUN_ATTRIBUTES)

        yield calls_of(job, call)
        client.close()


@contextmanager
def laboratory(job: Job) -> Iterator[Work]:
    """An experiment that publishes the spans and the duration of its control; UnleashClient evaluates the flags.

    As with the shim, one flag says who serves (who is the control) and one whether to compare (to have a candidate);
    with the option `flags` 1 there is no choice of who serves.
    """
    experiments = import_module("laboratory")
    client = offline_client(definitions([CALL]))
    chooses = job.options.get("flags", 2) > 1
    with discarded_telemetry() as handle:
        tracer, duration = tracer_of(handle), duration_of(handle)

        class Published(experiments.Experiment):  # type: ignore[name-defined,misc]  # found by name
            def publish(self, result: Any) -> None:
                with tracer.start_as_current_span(f"{CALL} legacy", attributes=SPAN_ATTRIBUTES):
                    duration.record(result.control.duration.total_seconds(), RUN_ATTRIBUTES)

        def do_nothing() -> None:
            """Do nothing."""

        def do_nothing_as_ever() -> None:
            """Do nothing."""

        def call() -> None:
            with tracer.start_as_current_span(CALL, attributes=CALL_ATTRIBUTES):
                experiment = Published(name=CALL)
                context = {"sessionId": os.urandom(16).hex(), "properties": {}}
                serves = do_nothing if chooses and client.is_enabled(CALL, context) else do_nothing_as_ever
                experiment.control(serves)
                if client.is_enabled(CALL + SHADOW_SUFFIX, context):
                    experiment.candidate(do_nothing)
                experiment.conduct()

        yield calls_of(job, call)
    client.destroy()


@contextmanager
def wrapped(job: Job) -> Iterator[Work]:
    """A function behind wrapt's decorator, which asks both flags and calls it: the least that routing can cost."""
    client, turn = offline_client(definitions(names_of(job))), itertools.cycle(names_of(job))

    @import_module("wrapt").decorator  # type: ignore[untyped-decorator]  # found by name
    def routed(function: Any, _instance: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = next(turn)
        client.is_enabled(name, {})
        client.is_enabled(name + SHADOW_SUFFIX, {})
        return function(*args, **kwargs)

    @routed  # type: ignore[untyped-decorator]  # as above
    def do_nothing() -> None:
        """Do nothing."""

    yield calls_of(job, do_nothing)
    client.destroy()
