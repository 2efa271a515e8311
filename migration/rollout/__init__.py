"""Stages on evidence."""
