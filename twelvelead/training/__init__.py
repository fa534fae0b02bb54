"""Training: from recordings to a model folder."""
