"""A trained model: scores of recordings, labels, rows of output files."""
