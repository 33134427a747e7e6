"""What needs fitting and evaluating together: choices between methods, and between domains."""
