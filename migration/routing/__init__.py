"""The callable in front of legacy and candidate, and the runtime that it uses."""
