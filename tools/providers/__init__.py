"""The providers, as the monolith has always used them: blocking, through the vendors' SDKs."""
