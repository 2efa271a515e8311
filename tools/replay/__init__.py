"""Rehearsals of uploads: the other implementation runs in full, and nothing is created anywhere."""

from tools.replay.replay import UploadReplay

__all__ = ["UploadReplay"]
