"""Comparing uploads: the other implementation runs in full, in a replay that creates nothing or live and undone."""

from tools.shadowing.live import UploadLive
from tools.shadowing.replay import UploadReplay
from tools.shadowing.undoing import Cleanup, Fate, clean, clean_in_background

__all__ = ["Cleanup", "Fate", "UploadLive", "UploadReplay", "clean", "clean_in_background"]
