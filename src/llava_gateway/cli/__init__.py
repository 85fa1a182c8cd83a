"""The command line: `llava-gateway serve | ask | chat | models | doctor`."""
