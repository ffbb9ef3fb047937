"""Samplers of negatives for implicit feedback: item indices with their log-probabilities."""
