"""Nijimi's backend: a mirrored canvas enters over a socket, finished pictures leave."""
