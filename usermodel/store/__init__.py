"""Memory-mapped per-user sequences. numpy only."""
