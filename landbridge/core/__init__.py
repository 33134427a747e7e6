"""Foundations without any recommendation logic: errors, settings, files, random numbers, threads, progress,
parallel execution.
"""
