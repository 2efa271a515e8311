"""The monolith: its callers, both implementations of its uploads, and what puts them behind one name."""
