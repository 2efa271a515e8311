"""What a call, a decision and a migration are, and what the library asks of the outside."""
