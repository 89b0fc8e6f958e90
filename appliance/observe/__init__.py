"""What the gateway tells about itself: events, message tracking, metrics. Decides nothing, and never stops the mail."""
