"""Studies: influence and embeddings in, datasets with intervals out. Nothing here opens a store."""
