"""Running one side: the candidate, the background event loop, calls in flight, observers."""
