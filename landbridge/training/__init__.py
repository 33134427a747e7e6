"""How a fit runs: options and the epoch loop."""
