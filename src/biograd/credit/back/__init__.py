"""Ways back through a block: decoders that learn, inverses of its weights."""
