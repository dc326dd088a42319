"""The local socket: HTTP on a Unix socket, OpenAPI, one JSON shape for every error."""
