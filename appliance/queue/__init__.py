"""What is due when: the queue over the spool, and its retry schedule."""
