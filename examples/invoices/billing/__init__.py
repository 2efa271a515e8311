"""A small monolith: invoices of a shop, in the currencies of its suppliers."""
