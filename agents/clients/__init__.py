"""Clients of the two vendors, and what all clients need: transport, retry, rate limit, failures."""
