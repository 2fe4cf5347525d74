"""A run: from faces to embeddings to influence, resumed where it was interrupted."""
