"""What a collection stores and how it is searched, as data."""
