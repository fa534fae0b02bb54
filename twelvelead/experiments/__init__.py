"""Recipes on the same splits: who trains, who is tested, tables."""
