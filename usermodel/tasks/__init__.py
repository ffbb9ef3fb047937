"""What the vectors are scored on. Tasks see scorers, never a model."""
