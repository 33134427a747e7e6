"""The HTTP interface: routes, schemas, middleware, static files."""
