"""Answers requests from a loaded model: queries, ranking, similarity, explanations."""
