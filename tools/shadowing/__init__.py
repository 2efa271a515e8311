"""Comparing uploads: the other implementation runs in full, in a replay that creates nothing or live and undone."""

from tools.shadowing.live import UploadLive
from tools.shadowing.replay import UploadReplay
from tools.shadowing.undoing import Fate, Leftover, clean, clean_in_background

__all__ = ["Fate", "Leftover", "UploadLive", "UploadReplay", "clean", "clean_in_background"]
