"""The collection that users create, open, fill and search."""
