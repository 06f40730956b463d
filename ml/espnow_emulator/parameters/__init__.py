"""The radio's parameters: one model a file."""
