"""What of a conversation a model is told, in tokens (pure functions on values)."""
