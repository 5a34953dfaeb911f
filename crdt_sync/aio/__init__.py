"""The asyncio shell: what pumps bytes between sessions, channels and replicas."""
