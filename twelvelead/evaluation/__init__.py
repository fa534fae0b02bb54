"""Scores of labels and outputs: the official metrics, the official way to read files, intervals."""
