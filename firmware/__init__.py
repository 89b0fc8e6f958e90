"""The appliance's image: what is on it, board by board, and the builder. No part of the service."""
