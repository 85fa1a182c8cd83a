"""The built-in demo model: a real LLaVA of 5 MB that the embedded engine serves where no other model is to be had."""
