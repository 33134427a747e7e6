"""CDIMF between organisations: what passes between the parties, its protection, and what it still reveals."""
