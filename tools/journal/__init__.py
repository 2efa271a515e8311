"""The journal of uploads: what is intended is durable before a byte leaves, and one content is sent by one upload."""

from tools.journal.factory import get_journal

__all__ = ["get_journal"]
