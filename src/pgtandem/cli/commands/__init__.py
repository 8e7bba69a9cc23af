"""One module per command, each with `run(options) -> exit code`; imported only when the command is called."""
