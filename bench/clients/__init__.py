"""Those who upload files: one entry each, used as its own documentation says."""
