"""One recording to a result that a person reads: table, picture, explanation."""
