"""From scans and reports to a store: many at once, resumable, and back out again."""
