"""The end of a migration: who calls, whether legacy can go, and the patch that removes it."""
