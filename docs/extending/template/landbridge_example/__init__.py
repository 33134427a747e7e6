"""A method, a metric, a reader and a tracker for landbridge."""
