"""Ordered message pipes to a peer: the interface, a websocket, and one in memory."""
