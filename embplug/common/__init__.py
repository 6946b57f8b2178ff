"""Pieces without a domain: ids, text encodings, argument checks, threads."""
