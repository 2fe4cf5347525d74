"""The stages of a run, each filling one kind of node of the store: crops, embeddings, influence."""
