"""What everything else may use: errors, files, randomness, threads, progress; it knows nothing of
recommendation.
"""
