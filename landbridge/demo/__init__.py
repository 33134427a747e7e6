"""The demonstration: MovieLens genres as domains, in the terminal and as a server."""
