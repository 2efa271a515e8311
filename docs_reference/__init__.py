"""Writes what can be written from the code: docs/reference and the picture of the rooms. `python -m docs_reference`."""
