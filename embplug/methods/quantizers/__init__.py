"""One vector to bytes that our rerankers score, without storing the vector itself."""
