"""Linear item–item models over several domains: a score is a sum over the events of a user."""
