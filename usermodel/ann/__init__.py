"""FAISS behind numpy arrays: the only importer of faiss."""
