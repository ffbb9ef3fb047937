"""Ranking metrics and embedding health."""
