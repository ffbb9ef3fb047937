"""From a batch of histories to vectors, and from a folder back to an encoder."""
