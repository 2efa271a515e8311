"""The end of a migration: the places that call it, whether legacy can go, and the patch that removes it."""
