"""From a run folder to answers: a service without any framework, an HTTP server around it, and its page."""
