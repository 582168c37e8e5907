"""Run directory -> figures -> one HTML file; reads files only and never imports torch."""
