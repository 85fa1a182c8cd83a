"""The tests mirror src/llava_gateway, one file for each module; contract/ runs the same tests over every engine."""
