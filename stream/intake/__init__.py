"""What comes in: webhooks, and what `watch` finds."""
