"""Augmentations: batch in, batch out."""
