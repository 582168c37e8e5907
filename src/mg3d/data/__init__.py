"""From scans and reports to batches: readers, geometry, clauses, the store, the dataset."""
