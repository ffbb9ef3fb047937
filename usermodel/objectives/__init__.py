"""(encoder, batch) -> loss."""
