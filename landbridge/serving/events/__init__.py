"""Live events: storage, histories, refitting."""
