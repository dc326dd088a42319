"""The Open Inference Protocol over gRPC, on a Unix socket of its own.

The service's definitions stand in `schema` as text; nothing is generated and nothing enters
protobuf's default pool, so that a process may import the official client, too.
"""
