"""Everything that compresses: transforms, quantizers, token codes, encodings, reductions, adapters."""
