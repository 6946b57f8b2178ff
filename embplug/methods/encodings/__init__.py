"""A token matrix as one vector that a vector search can find."""
