"""Vectors to vectors: fewer dimensions, or dimensions that quantize better."""
