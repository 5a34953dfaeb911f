"""The command line: `crdt-sync`.

What a command does is an *action* (`actions/`): a function of a replica and plain parameters that gives a JSON-able
result. It runs in this process, or in the process that serves the store (`control`), and is shown by `render`.
"""
