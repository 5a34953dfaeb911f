"""The public test kit: acceptance suites for stores and channels of your own, and exchanges without a network."""
