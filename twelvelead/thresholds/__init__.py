"""Thresholds: a metric as a function of them, the search for the best ones, and the labels that they give."""
