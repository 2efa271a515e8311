"""Kimi (Moonshot)."""
