"""Maps between the vector spaces of two models."""
