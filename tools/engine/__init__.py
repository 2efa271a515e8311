"""The asynchronous upload engine: streamed, pooled, concurrent."""
