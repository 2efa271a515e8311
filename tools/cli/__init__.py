"""The commands that only this monolith has."""
