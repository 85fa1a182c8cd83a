"""`python -m llava_gateway` is the same as `llava-gateway`."""

from llava_gateway.cli.main import app

if __name__ == "__main__":
    app()
