"""Item and user indexes, recommendation."""
