"""Live shadows of uploads: the other implementation really uploads, under a marked name, and it is undone."""

from tools.live.leftovers import Leftover, clean
from tools.live.live import UploadLive

__all__ = ["Leftover", "UploadLive", "clean"]
