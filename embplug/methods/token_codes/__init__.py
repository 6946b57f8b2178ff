"""All tokens of a document as one string of bytes."""
