"""Which traces are kept."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes


class LinkAwareSampler(Sampler):
    """Keeps a root span that has links exactly if one of the linked spans is kept; `base` decides about all others.

    A shadow is a trace of its own, linked to its primary. A sampler by trace id decides about the two separately:
    of the shadows that it keeps, it drops most primaries, and the other way round.
    """

    def __init__(self, base: Sampler) -> None:
        self._base = base

    def should_sample(  # noqa: PLR0917  # the signature is the SDK's
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Decide about one span that is about to start."""
        sampler = self._base
        if links and not get_current_span(parent_context).get_span_context().is_valid:
            sampler = ALWAYS_ON if any(link.context.trace_flags.sampled for link in links) else ALWAYS_OFF
        return sampler.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """Describe the sampler as the specification asks."""
        return f"LinkAware{{{self._base.get_description()}}}"
