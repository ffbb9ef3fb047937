"""Suites, runs and the demo."""
