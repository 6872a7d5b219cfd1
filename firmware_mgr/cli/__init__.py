"""The command line, one file per noun. Alone prints, prompts and exits; knows only the API clients."""
