"""GLM (Z.ai)."""
