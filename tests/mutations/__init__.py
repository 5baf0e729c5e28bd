"""The catalogue of bad deliveries: each is spoiled in one way, and the gate says which."""
