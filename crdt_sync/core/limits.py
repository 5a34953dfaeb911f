"""Constants of the space: what an entry may hold. Acceptance must not depend on the replica, so nobody tunes them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryLimits:
    """Bounds that every replica of a space applies alike to every entry."""

    entry_bytes_max: int = 8 * 1024 * 1024
    run_bytes_max: int = 256 * 1024
    """A run holds entries up to this size, or exactly one larger entry."""
    run_entries_max: int = 4096
    documents_max: int = 10_000
    """Documents touched by one entry."""
    operations_max: int = 10_000
    blocks_max: int = 100_000
    """Engine blocks in one update."""
    delete_ranges_max: int = 100_000
    authors_max: int = 1_000
    """Authors named in one update's delete set, or in one value's causal context."""
    heads_max: int = 64
    """Seen heads, and membership records, that one entry names."""
    value_bytes_max: int = 1024 * 1024
    value_depth_max: int = 64
    value_items_max: int = 100_000
    integer_bits_max: int = 13_999
    """Larger integers have more digits than Python turns into text (sys.int_info.default_max_str_digits)."""
    name_bytes_max: int = 64
    """Partition, model and field names."""
    element_chars_max: int = 172
    hidden_values_max: int = 16
    """Superseded values kept for a field with a causal context, so that a base can be found."""


ENTRY_LIMITS = EntryLimits()

TOO_LARGE_HINT = (
    "Keep a long text in a Text field, many items in a List, Set or Map, and files outside; "
    "docs/spec/storage.md lists the limits."
)
"""What to do with a value that is too large."""

TEXT_INSERT_CHARS_MAX = 1_000_000
"""Of one insertion made here. What others insert is bounded by the entry alone."""
