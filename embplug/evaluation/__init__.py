"""Evaluation of recipes on the user's own data, and advice on which recipe to choose."""
