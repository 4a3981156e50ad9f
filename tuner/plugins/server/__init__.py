"""Serves a storage to agents on other hosts over gRPC, and connects to such a server."""
