"""Tables of vectors on disk: precisions and formats, written block by block."""
