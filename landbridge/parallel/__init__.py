"""Many pieces of work at once: one door, several ways through it."""
