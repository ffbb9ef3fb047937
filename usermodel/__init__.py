"""Behaviour logs in, one reusable vector per user out."""

__version__ = "0.1.0.dev0"
