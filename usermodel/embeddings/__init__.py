"""UserEncoder: load, encode, export."""
