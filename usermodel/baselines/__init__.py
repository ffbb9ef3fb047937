"""Scorers to beat."""
