"""Whether what the new implementation has made is there, and is what it should be."""
