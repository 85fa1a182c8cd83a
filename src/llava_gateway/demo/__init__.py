"""The built-in demo model: a real LLaVA of 5 MB that the embedded engine serves if no other model is available."""
