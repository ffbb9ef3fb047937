"""Behaviour logs: readers, vocabulary, filters, splits, simulation. No torch."""
