"""Where mail comes in: the doors on ports 25, 465 and 587, their limits, and the transaction, the one way in."""
