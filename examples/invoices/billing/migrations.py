"""What is migrated. The rest of the monolith knows nothing of it, but for one line at its start: `app.running()`."""

from __future__ import annotations

import aiohttp

from migration import Migration, ReadOnly
from shim import Application

app = Application(
    migrations={
        "billing.invoices:render": Migration(
            name="new-invoices",
            candidate="billing.invoices_v2:render_async",
            falls_back_on=(aiohttp.ClientConnectorError,),  # the service was not reached: nothing was asked
            replay=ReadOnly(),
        ),
    },
)
"""What is migrated, by the function in front of which it is put, and what puts it there."""
