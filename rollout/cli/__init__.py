"""The door for people and pipelines: verbs, terminal, exit codes."""
