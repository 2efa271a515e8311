"""One page about a migration, to be attached to a change review: what is known, what was decided, what is missing."""
