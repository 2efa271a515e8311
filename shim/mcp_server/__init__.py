"""The monolith's tool for assistants: the Model Context Protocol over standard input and output, or over HTTP."""
