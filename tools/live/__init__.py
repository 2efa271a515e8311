"""Live shadows of uploads: the other implementation really uploads, under a marked name, and it is undone."""

from tools.live.leftovers import Fate, Leftover, clean, clean_in_background
from tools.live.live import UploadLive

__all__ = ["Fate", "Leftover", "UploadLive", "clean", "clean_in_background"]
