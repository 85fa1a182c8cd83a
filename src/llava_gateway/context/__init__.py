"""Choose which part of a conversation goes to a model, by tokens, and write it as messages (pure functions on values)."""
