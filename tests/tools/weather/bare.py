"""As many calls of the vendor's SDK alone; run as `python -m tests.tools.weather.bare NUMBER`, it prints as `many`."""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

from openai import OpenAI

from tests.tools.weather.footprint import memory
from tests.tools.weather.many import LOOKS, THREADS


def main() -> None:
    """Upload, measure and say."""
    number = int(sys.argv[1])
    looks = []
    with ThreadPoolExecutor(THREADS) as pool:
        for look in range(LOOKS):
            for _ in pool.map(_upload, range(look * number // LOOKS, (look + 1) * number // LOOKS)):
                pass
            looks.append(memory())
    json.dump(looks, sys.stdout)


def _upload(number: int) -> None:
    """With a client of its own, as the monolith has always done."""
    with OpenAI(api_key=os.environ["KIMI_API_KEY"], base_url=os.environ["KIMI_API_URL"]) as client:
        client.files.create(file=(f"{number}.txt", b"one of many"), purpose="batch")


if __name__ == "__main__":
    main()
