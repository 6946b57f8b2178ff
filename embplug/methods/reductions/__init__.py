"""Fewer tokens for each document: pooling and pruning."""
