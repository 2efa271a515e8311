"""Running the other side of a sampled call, and comparing."""
