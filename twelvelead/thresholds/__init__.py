"""Thresholds: the metric as a function of them, the search for the best ones, and labels from scores."""
