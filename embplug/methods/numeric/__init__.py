"""Numerical building blocks of the methods."""
