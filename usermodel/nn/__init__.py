"""Building blocks of encoders on ragged batches."""
