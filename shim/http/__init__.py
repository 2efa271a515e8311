"""Taps on the HTTP clients: who asked whom for what, for telemetry and for replays."""
