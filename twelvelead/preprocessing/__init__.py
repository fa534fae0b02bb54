"""From a Recording to the input of a model."""
