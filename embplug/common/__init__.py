"""General helpers: ids, text encodings, argument checks and threads."""
