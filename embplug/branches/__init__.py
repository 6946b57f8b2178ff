"""How a document's tokens, dense vectors and sparse vectors are stored and searched."""
