"""What a painter wrote enters; embeddings and the adapters that it names leave."""
