"""See the architecture page in docs/."""
