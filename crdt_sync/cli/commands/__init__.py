"""The commands: what they take, and how their results are shown. What they do is in `actions`."""
