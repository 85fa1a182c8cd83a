"""The HTTP APIs: each parses a request once into chat.ChatRequest and renders events and errors in its own format."""
