"""Offline serving: batches and streams, by the endpoint's rules but without the server."""
