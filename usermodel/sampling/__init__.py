"""Which slices of which users become examples. Returns indices, never data."""
