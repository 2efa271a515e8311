"""What a forked child does not share with its parent, for code that is to know nothing of migrations."""

from migration.forking import close_before_fork, new_lock, renew_in_child, unforked

__all__ = ["close_before_fork", "new_lock", "renew_in_child", "unforked"]
