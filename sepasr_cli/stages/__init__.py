"""The commands, one function each; a command's flags are its keywords."""
